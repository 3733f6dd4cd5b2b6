// Our own names for others, and whether we compared words with them.

import { ask } from "./api.js";
import { field, form, h, plain, short, trouble } from "./dom.js";

export async function contactsView(again) {
  const { contacts, met } = await ask("contacts");
  return [
    h("h1", {}, "Contacts"),
    h("p", { class: "lead" }, "Names are yours alone. Verified means that you compared words with that person."),
    h("ul", { class: "rows" }, contacts.map((one) => contact(one, again)), met.map((one) => stranger(one, again))),
    h("section", { class: "card", "aria-labelledby": "add" },
      h("h2", { id: "add" }, "Add one"),
      naming({ did: "" }, again)),
  ];
}

function contact(one, again) {
  const place = h("div", { "aria-live": "polite" });
  const tried = (action) => async () => {
    try {
      await action();
    } catch (error) {
      place.replaceChildren(trouble(error));
    }
  };
  const compare = tried(async () => {
    const { words } = await ask("words", { name: one.name });
    place.replaceChildren(h("p", { class: "words" }, plain(words)),
      h("p", {}, `Does ${plain(one.name)} read the same words? Both of you look at this, or run agent contacts verify.`),
      h("p", { class: "actions" }, h("button", { type: "button", onclick: same }, "The same")));
  });
  const same = tried(async () => { await ask("verify-contact", { name: one.name }); again(); });
  const forget = tried(async () => { await ask("forget", { name: one.name }); again(); });
  return h("li", { class: "card" },
    h("h2", {}, plain(one.name), " ", h("span", { class: "stage" }, one.verified ? "verified" : "not verified")),
    h("p", { class: "hint" }, h("code", {}, short(one.did))),
    h("p", { class: "actions" },
      h("button", { type: "button", class: "quiet", onclick: compare }, "Compare words", h("span", { class: "unseen" }, ` with ${plain(one.name)}`)),
      h("button", { type: "button", class: "quiet", onclick: forget }, "Forget", h("span", { class: "unseen" }, ` ${plain(one.name)}`))),
    place);
}

function stranger(one, again) {
  return h("li", { class: "card" },
    h("h2", {}, one.called ? `“${plain(one.called)}” ` : "No name ", h("span", { class: "stage" }, "unknown")),
    h("p", { class: "hint" }, h("code", {}, short(one.did))),
    naming(one, again));
}

function naming(one, again) {
  return form({ autocomplete: "off" }, async (data) => {
    await ask("name", { did: one.did || data.get("did").trim(), name: data.get("name").trim() });
    again();
  },
    !one.did && field("DID", h("input", { name: "did", required: true, spellcheck: "false" })),
    field("Your name for it", h("input", { name: "name", required: true, maxlength: "40" })),
    h("p", { class: "actions" }, h("button", { class: "quiet" }, "Save the name")));
}
