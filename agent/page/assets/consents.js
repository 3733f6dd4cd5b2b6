// Standing consents: what may run again, with whom, without asking us.

import { ask } from "./api.js";
import { choice, field, form, h, plain, short, trouble } from "./dom.js";

const DAY = 86_400_000;  // milliseconds
const LONGEST = 366;  // days

export async function consentsCard(programs, again) {
  const [allowed, { contacts }, me] = await Promise.all([ask("allowed"), ask("contacts"), ask("me")]);
  const names = new Map([[me.did, "you"], ...contacts.map((one) => [one.did, one.name])]);
  return h("section", { class: "card", "aria-labelledby": "standing" },
    h("h2", { id: "standing" }, "What may run without asking"),
    h("p", { class: "hint" }, "One program, with exactly these people, until a date. It holds while you wait for calls, under Compute."),
    allowed.length ? h("ul", { class: "seats" }, allowed.map((one) => standing(one, names, again)))
      : h("p", {}, "Nothing: you are asked each time."),
    contacts.length ? granting(programs, contacts, again)
      : h("p", {}, "To allow something, name the others first, under Contacts."));
}

function standing(one, names, again) {
  const who = one.parties.map((did) => names.get(did) ?? short(did)).sort((a, b) => (a === "you" ? 1 : b === "you" ? -1 : a < b ? -1 : 1));
  const what = `${plain(one.program)} with ${who.map(plain).join(", ")}`;
  const place = h("div", { class: "wholeline" });
  const revoke = async () => {
    try {
      await ask("revoke", { program: one.sha256, with: one.parties });
      again();
    } catch (error) {
      place.replaceChildren(trouble(error));
    }
  };
  return h("li", {},
    h("span", { class: "who" }, what, h("span", { class: "hint" }, ` until ${new Date(one.until * 1000).toLocaleString()}, hash `, h("code", {}, one.sha256.slice(0, 16)))),
    h("button", { type: "button", class: "quiet", onclick: revoke }, "Ask me again", h("span", { class: "unseen" }, ` about ${what}`)),
    place);
}

function granting(programs, contacts, again) {
  const today = Date.now();
  const date = h("input", { name: "until", type: "date", required: true, value: day(today + 30 * DAY), min: day(today + DAY), max: day(today + (LONGEST - 1) * DAY) });
  return h("details", {}, h("summary", {}, "Allow something"),
    form({ autocomplete: "off" }, async (data) => {
      const others = data.getAll("with");
      if (!others.length) throw new Error("With whom? Choose everybody who takes part.");
      const days = (new Date(`${date.value}T23:59:00`) - Date.now()) / DAY;
      await ask("allow", { program: data.get("program"), with: others, days: days.toFixed(6) });
      again();
    },
      field("Program", choice("program", programs.filter((one) => one.approved).map((one) =>
        [one.comes_along ? one.name : one.sha256, plain(one.title)]))),
      h("fieldset", {}, h("legend", {}, "With exactly these and you"),
        contacts.map((one) => h("label", { class: "check" },
          h("input", { type: "checkbox", name: "with", value: one.did }),
          ` ${plain(one.name)}${one.verified ? "" : " (not verified)"}`))),
      field("Until the end of", date),
      h("p", { class: "actions" }, h("button", { class: "quiet" }, "Allow it"))));
}

const day = (milliseconds) => new Date(milliseconds).toISOString().slice(0, 10);
