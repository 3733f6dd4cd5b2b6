// Puts the views on the page, and follows the session that the server runs.

import { ask, get } from "./api.js";
import { contactsView } from "./contacts.js";
import { h, short, trouble } from "./dom.js";
import { newIdentityView, youView } from "./identity.js";
import { programsView } from "./programs.js";
import { recordsView } from "./records.js";
import { SessionView } from "./session.js";
import { startView } from "./start.js";
import { empty, fold, renewed } from "./state.js";

const VIEWS = { Compute: null, Programs: programsView, Contacts: contactsView, Transcripts: recordsView, You: youView };
const WAIT = 20;  // seconds; the server answers sooner when there is news

const main = document.getElementById("main");
const views = document.querySelector("#views").closest("nav");
let me = null, invited = "", current = "Compute";
let job = { job: null, code: null }, state = empty(), view = null;
let seen = null;  // the session whose end we have left behind

async function show(name, focus = true) {
  current = name;
  for (const button of document.querySelectorAll("#views button")) {
    if (button.textContent === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  main.setAttribute("aria-busy", "true");
  let nodes;
  try {
    nodes = name === "Compute" ? await compute() : await VIEWS[name](() => show(name));
  } catch (error) {
    nodes = [h("h1", {}, name), trouble(error)];
  }
  if (current !== name) return;
  main.replaceChildren(...nodes.flat().filter(Boolean));
  main.removeAttribute("aria-busy");
  document.title = `${name} – didmesh`;
  if (focus) main.focus();
}

async function compute() {
  if (job.job === null || job.job === seen) return startView(invited, () => { seen = null; });
  view.draw(state, job);
  return view.nodes;
}

function leave() {
  seen = job.job;
  show("Compute");
}

async function follow() {
  for (;;) {
    try {
      const news = await get(`news?since=${state.count ?? 0}&job=${job.job}&wait=${job.job && job.code === null ? WAIT : 1}`);
      const another = news.job !== job.job;
      if (another) {
        state = news.words?.includes("--standing") ? renewed(state) : empty();
        view = new SessionView(me.did, leave);
      }
      for (const event of news.events) fold(state, event);
      state.count = (state.count ?? 0) + news.events.length;
      const ended = news.code !== job.code;
      job = news;
      if (another && job.job !== null && current === "Compute") await show("Compute");
      else if (job.job !== null && current === "Compute" && seen !== job.job) view.draw(state, job);
      if (ended && job.code !== null) await pause(300);
      if (job.code !== null) await pause(500);
    } catch (error) {
      main.replaceChildren(h("h1", {}, "The page is cut off"), trouble(error));
      if (error.hint) return;
      await pause(2000);
    }
  }
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

document.getElementById("views").append(...Object.keys(VIEWS).map((name) =>
  h("li", {}, h("button", { type: "button", onclick: () => show(name) }, name))));
try {
  views.hidden = !(await get("kept")).profile;
  if (views.hidden) main.replaceChildren(...newIdentityView((link) => begin(link).catch(giveUp)));
  else await begin("");
} catch (error) {
  giveUp(error);
}

// `link` is what a newcomer was sent, if that led here.
async function begin(link) {
  me = await ask("me");
  invited = link;
  const newcomer = views.hidden;
  views.hidden = false;
  document.getElementById("me").replaceChildren("You are ", h("code", { title: me.did }, short(me.did)));
  const first = await get("news");
  if (first.job === null) await show("Compute", newcomer);
  follow();
}

function giveUp(error) {
  main.replaceChildren(h("h1", {}, "The page cannot be opened"), trouble(error));
}
