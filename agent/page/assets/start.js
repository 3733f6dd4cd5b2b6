// Before a session: host one, join one, or run one with parties who know each other.

import { ask, get, post } from "./api.js";
import { choice, field, form, h, plain, trouble } from "./dom.js";
import { mail } from "./identity.js";
import { programFacts } from "./program.js";

const ADMIT = [
  ["ask", "nobody: ask me about each"],
  ["contacts", "whom I have a name for"],
  ["anyone", "whoever has the link"],
];

// `link` stands in its place already, if we came by one.
export async function startView(link, started) {
  const [programs, { contacts }, kept] = await Promise.all([
    ask("programs"), ask("contacts"), get("kept")]);
  const go = async (order) => { await post("start", order); started(); };
  return [
    h("h1", {}, "Compute together"),
    h("p", { class: "lead" }, "Your input stays on this machine. You see who takes part, and what is opened to whom, before anything runs."),
    h("div", { class: "columns" },
      h("div", {}, joinCard(link, go), runCard(programs, go), mail()),
      h("div", {}, hostCard(programs, contacts, go), kept.lobby && resumeCard(go)),
    ),
  ];
}

function joinCard(link, go) {
  return h("section", { class: "card", "aria-labelledby": "join" },
    h("h2", { id: "join" }, "Join"),
    form({ autocomplete: "off" }, (data) => go({
      command: "join", link: text(data, "link").trim(), mediator: text(data, "mediator"), name: text(data, "name"),
    }),
      field("Link, or three spoken words", h("input", { name: "link", value: link, required: true, autocapitalize: "off", spellcheck: "false" })),
      field("Mediator", h("input", { name: "mediator", inputmode: "url", placeholder: "https://mediator.example" }),
        "Only for spoken words: whoever says them knows it."),
      field("What you call yourself", h("input", { name: "name", maxlength: "64" }), "The others see it in quotes; you may leave it empty."),
      h("p", { class: "actions" }, h("button", {}, "Knock"))),
    form({}, () => go({ command: "join" }),
      h("p", { class: "hint" }, "Or wait until one of your contacts calls you."),
      h("p", { class: "actions" }, h("button", { class: "quiet" }, "Wait for a call"))));
}

function hostCard(programs, contacts, go) {
  const details = h("div", { class: "chosen" });
  const programChoice = choice("program", programs.map((one) =>
    [one.comes_along ? one.name : one.sha256, `${plain(one.title)}${one.approved ? "" : " (not approved)"}`]));
  programChoice.addEventListener("change", () => show(details, programChoice.value));
  show(details, programChoice.value);
  return h("section", { class: "card", "aria-labelledby": "host" },
    h("h2", { id: "host" }, "Open a lobby"),
    form({ autocomplete: "off" }, (data, element) => go({
      command: "host", program: text(data, "program"), seats: text(data, "seats"),
      title: text(data, "title"), admit: text(data, "admit"), name: text(data, "name"),
      role: text(data, "role"), with: data.getAll("with"), inputs: inputsOf(element),
    }),
      field("Program", programChoice),
      details,
      field("Title", h("input", { name: "title", maxlength: "64" }), "What this is, for the people you invite."),
      field("What you call yourself", h("input", { name: "name", maxlength: "64" })),
      field("Let in without asking", choice("admit", ADMIT)),
      contacts.length > 0 && h("fieldset", {}, h("legend", {}, "Call and let in"),
        contacts.map((one) => h("label", { class: "check" },
          h("input", { type: "checkbox", name: "with", value: one.did }),
          ` ${plain(one.name)}${one.verified ? "" : " (not verified)"}`))),
      h("p", { class: "actions" }, h("button", {}, "Open the lobby"))));
}

// What depends on the program: seats, our role, our inputs, and what it opens.
async function show(place, word) {
  try {
    const program = await ask("program", { program: word });
    const { min, max } = program.parties;
    const roles = program.roles.map((role) => [role.name, plain(role.name)]);
    const role = choice("role", roles);
    const inputs = h("div");
    const renew = () => inputs.replaceChildren(...inputFields(program, role.value));
    role.addEventListener("change", renew);
    renew();
    place.replaceChildren(
      field("Seats, yours among them", h("input", {
        name: "seats", type: "number", required: true, min, max, value: Math.min(Math.max(3, min), max) })),
      ...(roles.length > 1 ? [field("Your role", role)] : []),
      inputs,
      h("details", {}, h("summary", {}, "What will run, and what it opens"), programFacts(program)));
  } catch (error) {
    place.replaceChildren(trouble(error));
  }
}

function inputFields(program, role) {
  const names = program.roles.length > 1 ? program.roles.find((one) => one.name === role).inputs : null;
  return program.inputs.filter((one) => names === null || names.includes(one.name)).map((one) =>
    field(`Your ${plain(one.name)}`, h("input", {
      type: "text", inputmode: "numeric", required: true, pattern: "-?[0-9]+", "data-input": one.name,
    }), `${plain(one.title)}, ${one.min} to ${one.max}`));
}

function inputsOf(element) {
  return [...element.querySelectorAll("[data-input]")].map((input) => `${input.dataset.input}=${input.value}`);
}

function runCard(programs, go) {
  const known = programs.filter((one) => one.approved).map((one) =>
    [one.comes_along ? one.name : one.sha256, plain(one.title)]);
  return h("section", { class: "card", "aria-label": "Without a lobby" },
    h("details", {}, h("summary", {}, "Without a lobby"),
      form({ autocomplete: "off" }, (data) => go({ command: "run", program: text(data, "program"),
        role: text(data, "role"), with: words(data, "with"), inputs: words(data, "inputs") }),
        h("p", { class: "hint" }, "For parties who have each other's DIDs: each of them does the same."),
        field("Program to run", choice("program", known)),
        field("The others", h("textarea", { name: "with", rows: "3", required: true, spellcheck: "false" }),
          "Names of contacts or DIDs, one a line; role=name where parties differ."),
        field("Your role, if there are several", h("input", { name: "role" })),
        field("Your inputs", h("input", { name: "inputs", placeholder: "bid=120" })),
        h("p", { class: "actions" }, h("button", { class: "quiet" }, "Run")))));
}

function resumeCard(go) {
  return h("section", { class: "card", "aria-labelledby": "resume" },
    h("h2", { id: "resume" }, "Go on with your last lobby"),
    form({}, (data) => go({ command: "host", resume: true, inputs: words(data, "inputs") }),
      field("Your inputs again", h("input", { name: "inputs", placeholder: "bid=120" }), "They were not written down."),
      h("p", { class: "actions" }, h("button", { class: "quiet" }, "Go on"))));
}

const words = (data, name) => text(data, name).split(/[\s,]+/).filter(Boolean);
const text = (data, name) => data.get(name) ?? "";
