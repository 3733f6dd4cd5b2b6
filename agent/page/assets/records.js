// What is proved: transcripts and their verdicts.

import { get, post } from "./api.js";
import { h, plain, short, trouble } from "./dom.js";

export async function recordsView() {
  const { transcripts } = await get("kept");
  return [
    h("h1", {}, "Transcripts"),
    h("p", { class: "lead" }, "What each party signed: that it agreed, was ready, and which result it had. No inputs, no addresses."),
    transcripts.length ? h("ul", { class: "rows" }, transcripts.map(row))
      : h("p", {}, "None yet: each session leaves one."),
  ];
}

function row(name) {
  const place = h("div", { "aria-live": "polite" });
  const check = async () => {
    try {
      place.replaceChildren(verdict(await post("verify", { transcript: name })));
    } catch (error) {
      place.replaceChildren(trouble(error));
    }
  };
  return h("li", { class: "card" },
    h("div", { class: "row" }, h("code", {}, plain(name)),
      h("button", { type: "button", class: "quiet", onclick: check }, "Verify", h("span", { class: "unseen" }, ` ${plain(name)}`))),
    place);
}

export function verdict(told) {
  const party = (one) => h("li", { class: one.agreed && one.ready && one.result_sha256 ? "ready" : "" },
    h("span", { class: "who" }, `${plain(one.party)} `, h("code", {}, short(one.did))),
    h("span", { class: "stage" }, [one.agreed ? "agreed" : "did not agree", one.ready ? "ready" : "was not ready",
      one.result_sha256 ? `result ${plain(one.result_sha256).slice(0, 8)}…` : "no result"].join(", "),
      one.aborted && h("span", {}, `; stopped: ${plain(one.aborted)}`)));
  return h("div", { class: "verdict" },
    h("p", { class: told.complete ? "good" : "trouble" }, plain(told.verdict)),
    h("p", { class: "hint" }, `${plain(told.program.name)}, session `, h("code", {}, plain(told.session).slice(0, 16)), "…"),
    h("ol", { class: "seats" }, told.parties.map(party)));
}
