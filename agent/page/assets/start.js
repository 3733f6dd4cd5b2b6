// Before a session: host one, join one, or run one with parties who know each other.

import { ask, get, post } from "./api.js";
import { choice, field, form, h, plain, short, trouble } from "./dom.js";
import { mail } from "./identity.js";
import { programFacts } from "./program.js";

const ADMIT = [
  ["ask", "nobody: ask me about each"],
  ["contacts", "whom I have a name for"],
  ["anyone", "whoever has the link"],
];

let rootless = false;  // chosen once for all that is started here
const described = new Map();  // what a program is, asked once while the view is drawn

// `link` stands in its place already, if we came by one.
export async function startView(link, started) {
  described.clear();
  const [programs, people, kept] = await Promise.all([
    ask("programs"), ask("contacts"), get("kept")]);
  const go = async (order) => { await post("start", { ...order, rootless }); started(); };
  return [
    h("h1", {}, "Compute together"),
    h("p", { class: "lead" }, "Your input stays on this machine. You see who takes part, and what is opened to whom, before anything runs."),
    h("div", { class: "columns" },
      h("div", {}, joinCard(link, kept.standing, go), runCard(programs, go), rootlessCard(kept.rootless), mail()),
      h("div", {}, kept.lobby && resumeCard(kept.lobby, go), kept.last && againCard(kept.last, programs, people, go),
        hostCard(kept.last, programs, people.contacts, go)),
    ),
  ];
}

function joinCard(link, standing, go) {
  return h("section", { class: "card", "aria-labelledby": "join" },
    h("h2", { id: "join" }, "Join"),
    form({ autocomplete: "off" }, (data) => go({
      command: "join", link: text(data, "link").trim(), mediator: text(data, "mediator"),
      name: text(data, "name"), role: text(data, "role"), claim: text(data, "claim").trim(),
    }),
      field("Link, or three spoken words", h("input", { name: "link", value: link, required: true, autocapitalize: "off", spellcheck: "false" })),
      field("Mediator", h("input", { name: "mediator", inputmode: "url", placeholder: "https://mediator.example" }),
        "Only for spoken words: whoever says them knows it."),
      field("What you call yourself", h("input", { name: "name", maxlength: "64" }), "The others see it in quotes; you may leave it empty."),
      field("Role you would like", h("input", { name: "role", maxlength: "64", autocapitalize: "off" }), "Only where the seats differ; empty: any."),
      vouchField("Only where the host requires one; kept for the next time."),
      h("p", { class: "actions" }, h("button", {}, "Knock"))),
    form({}, () => go({ command: "join" }),
      h("p", { class: "hint" }, "Or wait until one of your contacts calls you."),
      h("p", { class: "actions" }, h("button", { class: "quiet" }, "Wait for a call"))),
    standing > 0 && form({ autocomplete: "off" }, (data) => go({ command: "join", standing: true, inputs: words(data, "inputs") }),
      h("p", { class: "hint" }, "Or take part in what you allowed (under Programs) each time that it is called, without being asked."),
      field("Your inputs, each time", h("input", { name: "inputs", placeholder: "bid=120" })),
      h("p", { class: "actions" }, h("button", { class: "quiet" }, "Take part without asking"))));
}

const auctionOf = (programs) => programs.find((one) => one.name === "second_price_auction")?.sha256;

function hostCard(last, programs, contacts, go) {
  const details = h("div", { class: "chosen" });
  return h("section", { class: "card", "aria-labelledby": "host" },
    h("h2", { id: "host" }, "Open a lobby"),
    form({ autocomplete: "off" }, (data, element) => go({
      command: "host", program: text(data, "program"), seats: text(data, "seats"),
      title: text(data, "title"), admit: text(data, "admit"), name: text(data, "name"),
      role: text(data, "role"), with: data.getAll("with"), inputs: inputsOf(element), claim: text(data, "claim").trim(),
      "require-vouch": words(data, "require-vouch"), "require-login": text(data, "require-login"),
      "client-id": text(data, "client-id"), email: text(data, "email"),
    }),
      field("Program", programChoice(programs, details, seatsField, last?.program?.sha256 ?? auctionOf(programs))),
      details,
      field("Title", h("input", { name: "title", maxlength: "64" }), "What this is, for the people you invite."),
      field("What you call yourself", h("input", { name: "name", maxlength: "64" })),
      field("Let in without asking", choice("admit", ADMIT)),
      contacts.length > 0 && h("fieldset", {}, h("legend", {}, "Call and let in"),
        contacts.map((one) => h("label", { class: "check" },
          h("input", { type: "checkbox", name: "with", value: one.did }),
          ` ${plain(one.name)}${one.verified ? "" : " (not verified)"}`))),
      h("details", {}, h("summary", {}, "Require that everybody shows who they are"),
        field("A vouch by one of", h("textarea", { name: "require-vouch", rows: "2", spellcheck: "false" }), "Names of contacts or DIDs, one a line."),
        vouchField("Your own vouch, unless you are one of them."),
        field("A login at", h("input", { name: "require-login", inputmode: "url", placeholder: "https://login.example" }), "An issuer of OpenID Connect."),
        field("As a user of the client", h("input", { name: "client-id", autocapitalize: "off", spellcheck: "false" }), "What the issuer calls this application."),
        field("With the e-mail address", h("input", { name: "email", placeholder: "*@uni.example", autocapitalize: "off", spellcheck: "false" }), "One, or all of a domain; empty: whoever logs in.")),
      h("p", { class: "actions" }, h("button", {}, "Open the lobby"))));
}

const vouchField = (hint) => field("A vouch for you", h("textarea", { name: "claim", rows: "2", spellcheck: "false" }), hint);

function againCard(last, programs, { contacts, met }, go) {
  const names = new Map([...met.map((one) => [one.did, one.called && `“${one.called}”`]), ...contacts.map((one) => [one.did, one.name])]);
  const details = h("div", { class: "chosen" });
  return h("section", { class: "card", "aria-labelledby": "again" },
    h("h2", { id: "again" }, "The same people again"),
    h("p", {}, `Calls ${last.others.map((did) => names.get(did) ? plain(names.get(did)) : short(did)).join(", ")} and lets them in. They wait for a call, or get the link from you.`),
    form({ autocomplete: "off" }, (data, element) => go({
      command: "host", again: true, program: text(data, "program"), role: text(data, "role"), inputs: inputsOf(element),
    }),
      field("Program", programChoice(programs, details, () => null, last.program?.sha256)),
      details,
      h("p", { class: "actions" }, h("button", {}, "Call them again"))));
}

// A program, and in `place` all that depends on which it is.
function programChoice(programs, place, seats, sha256) {
  const word = (one) => (one.comes_along ? one.name : one.sha256);
  const chosen = choice("program", programs.map((one) =>
    [word(one), `${plain(one.title)}${one.approved ? "" : " (not approved)"}`]));
  const before = programs.find((one) => one.sha256 === sha256);
  if (before) chosen.value = word(before);
  // What stood there was about another program; what comes late is, too.
  const renew = async () => {
    const word = chosen.value;
    place.replaceChildren(h("p", { class: "hint" }, "Looking at the program …"));
    const shown = await fieldsOf(word, seats);
    if (chosen.value === word) place.replaceChildren(...shown);
  };
  chosen.addEventListener("change", renew);
  renew();
  return chosen;
}

// What depends on the program: seats, our role, our inputs, and what it opens.
async function fieldsOf(word, seats) {
  try {
    const program = await describe(word);
    const roles = program.roles.map((role) => [role.name, plain(role.name)]);
    const role = choice("role", roles);
    const inputs = h("div");
    const renew = () => inputs.replaceChildren(...inputFields(program, role.value));
    role.addEventListener("change", renew);
    renew();
    return [
      seats(program),
      roles.length > 1 && field("Your role", role),
      inputs,
      h("details", {}, h("summary", {}, "What will run, and what it opens"), programFacts(program))].filter(Boolean);
  } catch (error) {
    return [trouble(error)];
  }
}

function describe(word) {
  if (!described.has(word)) described.set(word, ask("program", { program: word }));
  return described.get(word);
}

function seatsField({ parties: { min, max } }) {
  return field("Seats, yours among them", h("input", {
    name: "seats", type: "number", required: true, min, max, value: Math.min(Math.max(3, min), max) }));
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
  const details = h("div", { class: "chosen" }), place = h("div");
  const unfolded = h("details", {}, h("summary", {}, "Without a lobby"),
    form({ autocomplete: "off" }, (data, element) => go({ command: "run", program: text(data, "program"),
      role: text(data, "role"), with: words(data, "with"), inputs: inputsOf(element) }),
      h("p", { class: "hint" }, "For parties who have each other's DIDs: each of them does the same."),
      place,
      details,
      field("The others", h("textarea", { name: "with", rows: "3", required: true, spellcheck: "false" }),
        "Names of contacts or DIDs, one a line; role=name where parties differ."),
      h("p", { class: "actions" }, h("button", { class: "quiet" }, "Run"))));
  unfolded.addEventListener("toggle", () => place.replaceChildren(
    field("Program to run", programChoice(programs.filter((one) => one.approved), details, () => null))), { once: true });
  return h("section", { class: "card", "aria-label": "Without a lobby" }, unfolded);
}

// `obstacle`: what this machine lacks for it, and what to change.
function rootlessCard(obstacle) {
  const box = h("input", { type: "checkbox", id: "rootless", checked: rootless && !obstacle, disabled: Boolean(obstacle), "aria-describedby": "rootless-hint" });
  box.addEventListener("change", () => { rootless = box.checked; });
  if (obstacle) rootless = false;
  return h("section", { class: "card", "aria-label": "Rootless" },
    h("label", { class: "check", for: "rootless" }, box, " Rootless: without sudo or a service, in namespaces of your own"),
    h("p", { class: "hint", id: "rootless-hint" }, obstacle
      ? `Not possible on this machine: ${plain(obstacle.reason)}. To change that: ${plain(obstacle.change)}`
      : "For all that you start here. Choose it where the network helper does not start."));
}

function resumeCard(lobby, go) {
  const inputs = h("div");
  describe(lobby.program.sha256).then((program) => inputs.replaceChildren(...inputFields(program, lobby.role)),
    (error) => inputs.replaceChildren(trouble(error)));
  return h("section", { class: "card", "aria-labelledby": "resume" },
    h("h2", { id: "resume" }, "Go on with your last lobby"),
    h("p", {}, plain(lobby.title)),
    form({ autocomplete: "off" }, (data, element) => go({ command: "host", resume: true, inputs: inputsOf(element) }),
      inputs,
      h("p", { class: "hint" }, "Your inputs were not written down."),
      h("p", { class: "actions" }, h("button", {}, "Go on"))));
}

const words = (data, name) => text(data, name).split(/[\n,]/).map((word) => word.trim()).filter(Boolean);
const text = (data, name) => data.get(name) ?? "";
