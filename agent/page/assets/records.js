// What is proved: transcripts and their verdicts, ours and those that others gave us.

import { get, post } from "./api.js";
import { h, plain, short, trouble } from "./dom.js";

export async function recordsView() {
  const { transcripts } = await get("kept");
  return [
    h("h1", {}, "Transcripts"),
    h("p", { class: "lead" }, "What each party signed: that it agreed, was ready, and which result it had. No inputs, no addresses."),
    h("div", { class: "columns" },
      h("div", {}, transcripts.length ? h("ul", { class: "rows" }, transcripts.map(row))
        : h("p", { class: "card" }, "None yet: each session leaves one.")),
      h("div", {}, comparing(transcripts))),
  ];
}

function row(name) {
  const place = h("div", { "aria-live": "polite" });
  return h("li", { class: "card" },
    h("div", { class: "row" }, h("code", {}, plain(name)),
      h("button", { type: "button", class: "quiet", onclick: () => check(place, { transcript: name }) },
        "Verify", h("span", { class: "unseen" }, ` ${plain(name)}`))),
    place);
}

async function check(place, asked) {
  try {
    place.replaceChildren(verdict(await post("verify", asked), asked));
  } catch (error) {
    place.replaceChildren(trouble({ message: mine(error.message, asked), hint: error.hint }));
  }
}

// Files of others, beside each other and beside ours of the same session.
function comparing(transcripts) {
  const place = h("div", { "aria-live": "polite" });
  const input = h("input", { type: "file", multiple: true, id: "files", class: "unseen", accept: ".json,application/json" });
  const zone = h("label", { for: "files", class: "drop" },
    h("strong", {}, "Choose files"), " or drop them here");
  const compare = async (files) => {
    if (!files.length) return;
    const read = await Promise.all([...files].map(async (file) => ({ name: file.name, text: await file.text() })));
    await check(place, { files: read, transcript: ours(read, transcripts) });
  };
  input.addEventListener("change", async () => {
    await compare(input.files);
    input.value = "";  // so that the same files can be chosen again
  });
  for (const kind of ["dragover", "drop"]) zone.addEventListener(kind, (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => compare(event.dataTransfer.files));
  return h("section", { class: "card", "aria-labelledby": "compare" },
    h("h2", { id: "compare" }, "Compare"),
    h("p", { class: "hint" }, "The transcripts of several parties are put side by side, with yours if it is of the same session: equal, or the difference is named. They do not leave this machine."),
    input, zone, place);
}

function ours(files, transcripts) {
  for (const { text } of files) {
    const start = /"session":\s*"([0-9a-f]{16})/.exec(text)?.[1];
    const found = start && transcripts.find((name) => name.startsWith(start));
    if (found) return found;
  }
  return "";
}

// The command names files by where they lie; ours is "yours".
function mine(words, { transcript }) {
  if (!transcript) return words;
  return words.replace(new RegExp(`(^|than )/.*/transcripts/${transcript.replaceAll(".", "\\.")}`), "$1yours");
}

export function verdict(told, asked = {}) {
  const count = (asked.files?.length ?? 0) + (asked.transcript ? 1 : 0);
  const differences = told.differences ?? [];
  return h("div", { class: "verdict" },
    h("p", { class: told.complete && !differences.length ? "good" : "trouble" }, plain(told.verdict)),
    differences.length > 0 && h("div", { class: "trouble" }, h("p", {}, `The ${count} transcripts differ:`),
      h("ul", {}, differences.map((one) => h("li", {}, plain(mine(one, asked)))))),
    count > 1 && !differences.length && h("p", { class: "good" }, `All ${count} transcripts are equal${asked.transcript ? ", yours among them" : ""}.`),
    (told.earlier ?? []).map((epoch) => epochOf(epoch, `Epoch ${epoch.epoch}, which was begun anew`)),
    epochOf(told, told.epoch ? `Epoch ${told.epoch}, the last` : null));
}

function epochOf(told, title) {
  const party = (one) => h("li", { class: one.agreed && one.ready && one.result_sha256 ? "ready" : "" },
    h("span", { class: "who" }, `${plain(one.party)} `, h("code", {}, short(one.did))),
    h("span", { class: "stage" }, [one.agreed ? "agreed" : "did not agree", one.ready ? "ready" : "was not ready",
      one.result_sha256 ? `result ${plain(one.result_sha256).slice(0, 8)}…` : "no result"].join(", "),
      one.aborted && h("span", {}, `; stopped: ${plain(one.aborted)}`)));
  return [title && h("h3", {}, title),
    h("p", { class: "hint" }, `${plain(told.program.name)}, session `, h("code", {}, plain(told.session).slice(0, 16)), "…"),
    h("ol", { class: "seats" }, told.parties.map(party))];
}
