// A program as a person should see it before it may run.

import { h, plain } from "./dom.js";

export function programFacts(program) {
  return h("div", { class: "program" },
    h("p", {}, h("strong", {}, plain(program.title))),
    h("dl", {},
      pair("Opens", list(program.opens.map(({ what, to }) => `${what}, to ${audience(to)}`))),
      pair("Asks for", list(program.inputs.map((one) =>
        `${one.name}: ${one.title} (${one.min} to ${one.max})`)) ?? "nothing"),
      program.roles.length > 1 && pair("Roles", list(program.roles.map((role) =>
        `${role.name}: ${role.seats} of them, gives ${role.inputs.join(", ") || "nothing"}`))),
      pair("Parties", program.parties.min === program.parties.max ? String(program.parties.min)
        : `${program.parties.min} to ${program.parties.max}`),
      pair("Files", list(program.files.map(({ name, size }) => `${name}, ${size} bytes`))),
      pair("Started as", plain(`${program.adapter} ${program.entry}`)),
      pair("Hash", h("code", { class: "hash" }, plain(program.sha256)))),
    program.changes && changes(program.changes));
}

const audience = (to) => (to.length ? to.join(", ") : "all");

function pair(term, value) {
  return h("div", {}, h("dt", {}, term), h("dd", {}, value));
}

function list(texts) {
  return texts.length ? h("ul", {}, texts.map((text) => h("li", {}, plain(text)))) : null;
}

function changes(found) {
  const names = [["new", found.added], ["gone", found.removed], ["changed", found.changed]];
  return h("div", { class: "changes" },
    h("h4", {}, "Different from the version that you approved last"),
    list(names.flatMap(([word, files]) => files.map((file) => `${word}: ${file}`))),
    h("pre", { tabindex: "0", "aria-label": "Changed lines" }, found.lines.map((line) =>
      h("span", { class: { "+": "added", "-": "removed" }[line[0]] }, `${plain(line)}\n`))),
    found.more && h("p", { class: "hint" }, "and more than is shown here: compare the files themselves"));
}
