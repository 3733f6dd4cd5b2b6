// A session while it lives: who is there, what is asked, how the parties are reached, how it ended.

import { ask, post } from "./api.js";
import { copyButton, field, form, h, plain, say, short, trouble } from "./dom.js";
import { drawMesh, shownOf } from "./mesh.js";
import { programFacts } from "./program.js";
import { qrOf } from "./qr.js";
import { verdict } from "./records.js";
import { waitingFor } from "./state.js";

export class SessionView {
  constructor(me, done) {
    this.me = me;
    this.done = done;
    this.drawn = new Map();
    this.questions = new Map();
    this.logged = 0;
    const part = (name, label) => h("section", { id: name, class: "card", hidden: true, "aria-label": label });
    this.parts = {
      now: part("now", "What happens now"), asked: h("div", { id: "asked" }),
      phrase: part("phrase", "Words to compare"), result: part("result", "Result"),
      invite: part("invite", "Invite"), seats: part("seats", "Seats"), mesh: part("mesh", "Mesh"),
      program: part("program", "Program"), log: part("log", "Log"),
    };
    const { now, asked, phrase, result, invite, seats, mesh, program, log } = this.parts;
    this.lines = h("ol", { class: "lines", role: "log", "aria-label": "What happened", tabindex: "0" });
    log.append(h("details", {}, h("summary", {}, "Everything that happened"), this.lines));
    this.heading = h("h1", { tabindex: "-1" }, "A session");
    this.nodes = [this.heading,
      h("div", { class: "columns" },
        h("div", {}, now, asked, result, phrase, seats),
        h("div", {}, invite, mesh, program, log))];
  }

  draw(state, job) {
    const over = job.code !== null;
    this.heading.textContent = plain(titleOf(state, job) ?? "A session");
    this.lookUp(job);
    this.part("now", [state.now, waitingFor(state, this.me), state.questions.size, state.error, over, state.login, state.computing, state.free, state.locked],
      () => this.drawNow(state, job, over));
    this.drawQuestions(state, over);
    const asked = [...state.questions.values()].some((one) => one.kind === "phrase");
    this.part("phrase", [state.phrase, over, asked], () => !over && !asked && state.phrase && phraseCard(state.phrase));
    const last = state.result ?? state.earlier;
    this.part("result", [last, over], () => last && resultCard(last, state.result ? "Result" : "The last result"));
    this.part("invite", [state.link, state.code, state.computing, over],
      () => state.link && !state.computing && !over && inviteCard(state));
    this.part("seats", [state.roster, state.seats], () => state.roster.length > 0 && seatsCard(state, this.me));
    const parties = partiesOf(state, job, this.me);
    const paths = new Map([...state.paths, ...Object.entries(job.paths?.paths ?? {})]);
    this.part("mesh", [parties, [...paths].map(([did, path]) => [did, shownOf(path)])], () => paths.size > 0 && [
      h("h2", {}, "Mesh"), drawMesh(parties, this.me, paths)]);
    const program = state.program ?? this.own;
    const deciding = [...state.questions.values()].some((one) => one.kind === "program");
    this.part("program", [program, state.pieces, deciding], () => !deciding && programCard(program, state.pieces));
    this.drawLog(state);
  }

  // Draws a part anew only when what it shows has changed, so that nobody's place is lost.
  part(name, shown, make) {
    const key = JSON.stringify(shown);
    if (this.drawn.get(name) === key) return;
    this.drawn.set(name, key);
    const part = this.parts[name], content = make();
    const held = part.contains(document.activeElement) ? labelOf(document.activeElement) : null;
    part.hidden = !content;
    part.replaceChildren(...(content ? [content].flat().filter(Boolean) : []));
    if (held !== null) {
      const same = [...part.querySelectorAll("button, input, [tabindex]")].find((one) => labelOf(one) === held);
      (same ?? this.heading).focus({ preventScroll: true });
    }
  }

  // Whoever hosts or runs is not told its own program: its last word names it.
  lookUp(job) {
    if (this.own !== undefined || job.words[1] === "join" || job.words.includes("--resume")) return;
    this.own = null;
    ask("program", { program: job.words.at(-1) }).then((told) => { this.own = told; }, () => {});
  }

  drawNow(state, job, over) {
    const host = job.words[1] === "host";
    const late = waitingFor(state, this.me);
    const waiting = late.length > 0 && !over && !state.computing;
    const asked = state.questions.size > 0 && !over;
    if (!asked) say(waiting ? `Waiting for ${late.join(", ")}` : state.now);
    return [
      h("h2", {}, over ? (job.code === 0 ? "Done" : "Ended") : state.computing ? "Computing" : "Now"),
      h("p", { class: "state" }, over ? (job.code === 0 ? "The computation ran." : "No result came of it.")
        : asked ? "You are asked something." : waiting ? `Waiting for ${late.map(plain).join(", ")}.` : `${plain(state.now)}.`),
      state.login?.startsWith("http") && !over && h("p", {}, h("a", { href: state.login, target: "_blank", rel: "noopener noreferrer" },
        "Log in"), " where the host requires it. Everybody in the lobby gets what the issuer says of you."),
      state.error && h("div", { class: "trouble" }, h("p", {}, plain(state.error.text)),
        state.error.hint && h("p", { class: "hint" }, plain(state.error.hint))),
      state.cleanup && h("p", { class: "hint" }, `Left on this machine: ${state.cleanup.interfaces} interfaces, ${state.cleanup.namespaces} namespaces, ${state.cleanup.processes} processes.`),
      h("p", { class: "actions" },
        over ? h("button", { type: "button", onclick: this.done }, "Back") : [
          ...(host && !state.computing ? [state.free > 0 && word("Start without the free seats", "start"),
            !state.locked && word("Lock", "lock"), word("Close", "close")] : []),
          !host && !state.computing && job.words[1] === "join" && word("Leave", "leave"),
          h("button", { type: "button", class: "quiet", onclick: () => post("stop") },
            state.computing || job.words[1] === "run" || job.words.includes("--standing") ? "Stop" : "Go away for now")].filter(Boolean)),
      h("p", { class: "hint" }, "On the command line: ", h("code", {}, typed(job.words))),
    ];
  }

  drawQuestions(state, over) {
    const open = over ? new Map() : state.questions;
    for (const [number, node] of this.questions) {
      if (!open.has(number)) {
        if (node.contains(document.activeElement)) this.heading.focus({ preventScroll: true });
        node.remove();
        this.questions.delete(number);
      }
    }
    for (const [number, question] of open) {
      if (this.questions.has(number)) continue;
      const node = questionCard(number, question);
      this.questions.set(number, node);
      this.parts.asked.append(node);
      say(`Asked: ${question.text}`);
    }
  }

  drawLog(state) {
    this.parts.log.hidden = state.log.length === 0;
    for (const line of state.log.slice(this.logged - state.log.length || undefined)) {
      if (this.logged >= state.log.length) break;
      this.logged += 1;
      this.lines.append(h("li", {}, h("time", {}, new Date(line.t * 1000).toLocaleTimeString()), ` ${plain(line.text)}`));
    }
  }
}

const labelOf = (element) => element.getAttribute("aria-label") ?? element.textContent;

// What a person would type for the same; inputs and links are long, or nobody else's to see.
function typed(words) {
  return words.filter((one) => !["--json", "--answers", "--", "--profile=default"].includes(one))
    .map((one) => (one.includes("://") && !one.startsWith("--") ? "LINK" : /[^\w=.,:/-]/.test(one) ? `'${one.replaceAll("'", "'\\''")}'` : one))
    .map(plain).join(" ");
}

function titleOf(state, job) {
  const given = job.words.find((one) => one.startsWith("--title="))?.slice(8);
  return given ?? state.title ?? state.goal ?? state.program?.title;
}

function word(label, say_) {
  return h("button", { type: "button", class: "quiet", onclick: () => post("answer", { say: say_ }) }, label);
}

function questionCard(number, question) {
  const answer = (text) => post("answer", { question: number, answer: text });
  const label = `question-${number}`;
  const yesNo = (yes, no) => form({}, (data, element) => answer(element.dataset.answer),
    h("p", { class: "actions" },
      h("button", { onclick: (event) => { event.target.form.dataset.answer = "yes"; } }, yes),
      h("button", { class: "quiet", onclick: (event) => { event.target.form.dataset.answer = "no"; } }, no)));
  const card = (title, ...content) =>
    h("section", { class: "card question", "aria-labelledby": label }, h("h2", { id: label }, title), ...content);
  switch (question.kind) {
    case "admit":
      return card("Somebody knocks", h("p", {}, plain(question.text)),
        h("p", { class: "hint" }, "DID ", h("code", {}, short(question.did))), yesNo("Let in", "Refuse"));
    case "knock":
      return card("You are called", h("p", {}, plain(question.text)), yesNo("Knock", "Not now"));
    case "claims":
      return card("Who you are is asked for", h("p", {}, plain(question.text)), yesNo("Show it", "Do not show it"));
    case "program":
      return card("May this program run with your inputs?", programFacts(question.program),
        yesNo("Let it run", "Do not let it run"));
    case "phrase":
      return card("Compare these words", h("p", { class: "words" }, plain(question.words)),
        h("p", {}, "Call each other and read them aloud. If anybody reads others, somebody stands between you: say so."),
        yesNo("Everybody reads the same", "They differ"));
    case "input":
      return card("Your input", form({ autocomplete: "off" }, (data) => answer(data.get("value")),
        field(`Your ${plain(question.name)}`, h("input", {
          name: "value", inputmode: "numeric", required: true, pattern: "-?[0-9]+",
        }), `${plain(question.title)}, ${question.min} to ${question.max}. It stays on this machine.`),
        h("p", { class: "actions" }, h("button", {}, "Use it"))));
    default:
      return card(plain(question.text), yesNo("Yes", "No"));
  }
}

function phraseCard(words) {
  return [h("h2", {}, "The words of this session"), h("p", { class: "words" }, plain(words)),
    h("p", { class: "hint" }, "The same at everybody, or stop.")];
}

function inviteCard(state) {
  const link = h("input", { readonly: true, value: state.link, onfocus: (event) => event.target.select() });
  return [
    h("h2", {}, "Invite"),
    qrOf(state.link, "The link as a QR code"),
    field("Link", link, "Who has it may knock; you decide who comes in."),
    h("p", { class: "actions" }, copyButton(state.link, "the link")),
    state.code && [h("p", {}, "Or say these words, and which mediator is yours:"),
      h("p", { class: "words" }, plain(state.code.replaceAll("-", " ")))],
  ].flat();
}

function seatsCard(state, me) {
  const seat = (one, rank) => h("li", { class: one.stage === "admitted" ? "" : "ready" },
    h("span", { class: "rank", "aria-hidden": "true" }, String(rank)),
    h("span", { class: "who" }, nameOf(one, me), one.role && one.role !== "party" && ` as ${plain(one.role)}`,
      one.did !== me && h("span", { class: "hint" }, ` ${trust(one)}`),
      (one.claims ?? []).map((claim) => h("span", { class: "claim" }, plain(claim.text)))),
    h("span", { class: "stage" }, plain(one.stage)));
  const free = Array.from({ length: state.free }, () => h("li", { class: "free" },
    h("span", { class: "rank", "aria-hidden": "true" }, "·"), h("span", { class: "who" }, "free")));
  return [h("h2", {}, `Seats: ${state.roster.length} of ${state.seats}${state.locked ? ", locked" : ""}`),
    h("ol", { class: "seats" }, state.roster.map(seat), free)];
}

function nameOf(seat, me) {
  if (seat.did === me) return "you";
  if (seat.contact) return plain(seat.contact);
  return seat.calls_itself ? `“${plain(seat.calls_itself)}”` : short(seat.did);
}

function trust(seat) {
  if (seat.contact) return seat.verified ? "verified" : "not verified";
  return seat.calls_itself ? `unknown, ${short(seat.did)}` : "unknown";
}

function programCard(program, pieces) {
  if (!program && !pieces) return null;
  return [h("h2", {}, "What runs"),
    pieces && pieces.have < pieces.of && field("Fetching the program",
      h("progress", { max: pieces.of, value: pieces.have })),
    program && programFacts(program)];
}

function resultCard({ output, transcript }, title) {
  const checked = h("div", { "aria-live": "polite" });
  const name = transcript?.split("/").pop();
  if (name) {
    post("verify", { transcript: name }).then((told) => checked.replaceChildren(verdict(told)),
      (error) => checked.replaceChildren(trouble(error)));
  }
  return [h("h2", {}, title),
    output === null ? h("p", {}, "none") : h("pre", { class: "output", tabindex: "0", "aria-label": "What the program printed" }, output.split("\n").map((line) => `${plain(line)}\n`).join("").trimEnd()),
    name && h("h3", {}, "Transcript"), name && h("p", { class: "hint" }, h("code", {}, plain(transcript))), checked];
}

function partiesOf(state, job, me) {
  const known = new Map(state.roster.map((seat) => [seat.did, nameOf(seat, me)]));
  const dids = job.paths?.parties ?? (state.roster.length ? state.roster.map((seat) => seat.did) : [me, ...state.paths.keys()]);
  return dids.map((did) => ({ did, name: did === me ? "you" : known.get(did) ?? short(did) }));
}
