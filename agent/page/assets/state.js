// What a session's events add up to. Pure: events in, one object out.

export const empty = () => ({
  link: null, code: null, login: null, goal: null, roster: [], seats: 0, free: 0, waiting: [], locked: false,
  program: null, pieces: null, phrase: null, questions: new Map(), paths: new Map(), mesh: null,
  log: [], now: "starting", result: null, error: null, cleanup: null, computing: false, earlier: null,
});

// For who takes part again and again: the next time, with what came of the last.
export const renewed = (state) => ({ ...empty(), log: state.log, earlier: state.result ?? state.earlier });

const MAX_LOG = 500;

export function fold(state, event) {
  if (event.event === undefined && event.error) {
    state.error ??= { text: event.error, hint: event.hint };
    return;
  }
  if (event.text && event.event !== "question") note(state, event);
  (HANDLERS[event.event] ?? (() => {}))(state, event);
}

const ELSEWHERE = { open: "the lobby is open", login: "log in at the issuer" };  // what has a place of its own

function note(state, event) {
  const text = ELSEWHERE[event.what] ?? event.text;
  state.log.push({ t: event.t, text });
  if (state.log.length > MAX_LOG) state.log.shift();
  if (event.what !== "show" && event.event !== "error") state.now = text;
}

const HANDLERS = {
  lobby: (state, event) => LOBBY[event.what]?.(state, event),
  question: (state, event) => state.questions.set(event.question, event),
  answered: (state, event) => state.questions.delete(event.question),
  phrase: (state, event) => { state.phrase = event.words; },
  step: (state, event) => {
    if (event.name === "agreed") state.computing = true;
  },
  path: (state, event) => {
    state.computing = true;
    state.paths.set(event.did, event);
    note(state, { ...event, text: `${event.party}: ${event.kind} path, ${Math.round(event.rtt_ms)} ms` });
  },
  mesh: (state, event) => {
    state.mesh = event.seconds;
    note(state, { ...event, text: `the mesh is up, ${event.seconds.toFixed(1)} s after the first offer` });
  },
  result: (state, event) => { state.result = event; },
  error: (state, event) => { state.error = { text: event.text, hint: event.hint }; },
  cleanup: (state, event) => { state.cleanup = event; },
};

const LOBBY = {
  waiting: (state) => Object.assign(state, renewed(state), { now: state.now }),
  login: (state, event) => { state.login = event.url; },
  open: (state, event) => Object.assign(state, { link: event.link, expires: event.expires, login: null }),
  code: (state, event) => { state.code = event.code; },
  burnt: (state) => { state.code = null; },
  "no-code": (state) => { state.code = null; },
  knocked: (state, event) => { state.goal = event.goal; state.waiting = event.waiting; },
  admitted: (state, event) => { state.title ??= event.title; state.login = null; },
  roster: (state, event) => {
    Object.assign(state, { roster: event.roster, seats: event.seats, free: event.free,
      locked: event.locked, waiting: event.waiting ?? null });
  },
  program: (state, event) => { state.program = event.program; },
  piece: (state, event) => { state.pieces = { have: event.have, of: event.of }; },
  reopened: (state) => { state.phrase = null; },
  began: (state) => {
    state.roster = state.roster.map((seat) => ({ ...seat, stage: "signed" }));
    Object.assign(state, { computing: true, waiting: [] });
  },
};

// Whom everybody waits for but us. A host says it; a guest reads it from the seats.
export function waitingFor(state, me) {
  if (state.waiting !== null) return state.waiting;
  const late = state.roster.filter((seat) => seat.stage !== "ready" && seat.did !== me)
    .map((seat) => seat.contact ?? seat.calls_itself ?? "somebody");
  return state.free ? [...late, `${state.free} more to come`] : late;
}
