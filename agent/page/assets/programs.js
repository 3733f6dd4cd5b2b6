// The programs on this machine: look, approve, add, forget.

import { ask } from "./api.js";
import { consentsCard } from "./consents.js";
import { field, form, h, plain, trouble } from "./dom.js";
import { programFacts } from "./program.js";

export async function programsView(again) {
  const programs = await ask("programs");
  return [
    h("h1", {}, "Programs"),
    h("p", { class: "lead" }, "A program is known by its hash. What does not come along runs only after you approved exactly it."),
    h("ul", { class: "rows" }, programs.map((one) => row(one, again))),
    await consentsCard(programs, again),
    h("section", { class: "card", "aria-labelledby": "add" },
      h("h2", { id: "add" }, "Add one"),
      form({}, async (data) => { await ask("add-program", { path: data.get("path") }); again(); },
        field("Folder or archive on this machine", h("input", { name: "path", required: true, spellcheck: "false" }), "Its whole path. It is kept, and does not run before you approve it."),
        h("p", { class: "actions" }, h("button", { class: "quiet" }, "Add")))),
  ];
}

function row(one, again) {
  const place = h("div");
  const details = h("details", {}, h("summary", {}, "Show"), place);
  details.addEventListener("toggle", () => details.open && show(place, one, again));
  const state = one.comes_along ? "comes along" : one.approved ? "approved" : "not approved";
  return h("li", { class: "card" },
    h("h2", {}, plain(one.name), " ", h("span", { class: "stage" }, state)),
    h("p", {}, plain(one.title)), details);
}

async function show(place, one, again) {
  const act = async (command) => {
    try {
      await ask(command, { program: one.sha256 });
      again();
    } catch (error) {
      place.append(trouble(error));
    }
  };
  try {
    const program = await ask("program", { program: one.comes_along ? one.name : one.sha256 });
    place.replaceChildren(programFacts(program),
      h("p", { class: "actions" },
        !program.approved && h("button", { type: "button", onclick: () => act("approve") }, "Approve"),
        !one.comes_along && h("button", { type: "button", class: "quiet", onclick: () => act("forget-program") }, "Forget")));
  } catch (error) {
    place.replaceChildren(trouble(error));
  }
}
