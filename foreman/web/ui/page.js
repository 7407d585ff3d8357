// The page as a whole: which of its parts are to be drawn again, where a link leads, and what a button does.

import { get } from "./api.js";
import { confirmed, say, toast } from "./dialog.js";
import { h, show } from "./dom.js";
import { close, closed, follow, known, open, refresh, running } from "./feed.js";
import * as job from "./job.js";
import { lanes, saying, top, trouble } from "./now.js";
import { machine } from "./machine.js";
import { keys } from "./keys.js";
import { queue, unfold } from "./queue.js";
import { recent } from "./recent.js";
import { reloads } from "./reloads.js";
import { ribbon } from "./ribbon.js";
import * as session from "./session.js";
import { subject } from "./words.js";

const place = (id) => document.getElementById(id);
const PARTS = { notes: trouble, now: lanes, line: ribbon, machine, queue, reloads, recent, keys };
// What is drawn again when something has changed; `tick` is the passing of time.
const NEEDS = {
  link: ["notes"], queue: ["notes", "now", "line", "queue"], recent: ["line", "recent", "queue"], health: ["notes", "now", "queue"],
  machine: ["machine", "now"], history: ["machine"], reloads: ["reloads"], keys: ["keys"], pace: ["now"], tick: ["now", "queue", "recent"],
};
let view = "", due = 0, drawn = 0, took = 0, door = false;
const dirty = new Set();

function redraw(parts) {
  parts.forEach((part) => dirty.add(part));
  // In the next frame; where drawing takes long and much happens, it gets a fifth of the time at most.
  const pause = drawn + 4 * took - performance.now();
  due ||= pause > 0 ? setTimeout(() => requestAnimationFrame(draw), Math.min(pause, 180)) : requestAnimationFrame(draw);
}

function changed(names) {
  redraw(names.flatMap((name) => NEEDS[name]));
}

function draw() {
  due = 0;
  const began = performance.now();
  const word = saying();
  show(place("top"), top(session.may()));
  document.title = running().length ? `${word} · foreman` : known.queue?.depth ? `${known.queue.depth} waiting · foreman` : "foreman";
  say(word);
  if (door) show(place("main"), session.form());
  else if (view === "job") show(place("main"), job.page());
  else if (known.queue) overview();
  else show(place("main"), ...trouble(), h("p.empty", "Asking foreman…"));
  dirty.clear();
  drawn = performance.now();
  took = drawn - began;
}

function overview() {
  const main = place("main");
  if (!place("part-now")) {
    show(main, h("h1.unseen", "What foreman runs"), ["notes", "now", "line"].map(part),
      h("div.columns", h("div", part("queue"), part("recent")), h("div", part("machine"), part("reloads"), part("keys"))));
    Object.keys(PARTS).forEach((name) => dirty.add(name));
  }
  for (const name of dirty) if (PARTS[name]) show(place(`part-${name}`), PARTS[name]());
}

const part = (name) => h("div", { id: `part-${name}`, "data-own": "" });

// -- where a link leads

function go() {
  const [, kind, id] = location.hash.match(/^#\/(jobs)\/([0-9A-Za-z]{26})$/) ?? [];
  job.leave();
  view = kind ? "job" : "";
  if (kind) job.enter(id, () => redraw(["job"]));
  redraw(Object.keys(PARTS));
}

// -- what a button does

const ACTS = {
  async cancel(id) {
    const sure = await confirmed({ title: "Cancel this job?", text: "It ends now, for everybody who waits for it. What it has answered so far is lost; it can be tried again later.", yes: "Cancel the job" });
    if (sure && await done(() => get(`jobs/${id}`, { method: "DELETE" }), "Cancelled")) refresh("queue");
  },
  async retry(id) {
    const again = await done(() => get(`jobs/${id}/retry`, { method: "POST" }), "Handed in again");
    if (again && view === "job") location.hash = `#/jobs/${again.id}`;
  },
  async forget(id) {
    const sure = await confirmed({ title: "Forget this job?", text: "Its prompt, its answer and all that is known of it are deleted. This cannot be undone.", yes: "Forget it" });
    if (sure && await done(() => get(`jobs/${id}?forget=true`, { method: "DELETE" }), "Forgotten")) { refresh("recent"); location.hash = "#/"; }
  },
  pause: () => done(() => get("queue/pause", { method: "POST" }), "Paused"),
  resume: () => done(() => get("queue/resume", { method: "POST" }), "Resumed"),
  reveal: () => job.reveal(),
  unfold(id) { unfold(id); redraw(["queue"]); },
  async leave() { await session.leave(); close(); location.reload(); },
  skip() { place("main").focus(); },
};

// What foreman answered, or null where it refused.
async function done(act, text) {
  try {
    const answer = (await act()) ?? {};
    toast(answer.model ? `${text}: ${subject(answer)}` : text);
    return answer;
  } catch (error) {
    toast(error.status === 403 ? `This key may not do that: ${error.message}` : error.message, "bad");
    return null;
  }
}

document.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-act]");
  if (!pressed) return;
  if (pressed.tagName === "A") event.preventDefault();
  ACTS[pressed.dataset.act]?.(pressed.dataset.id);
});

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await session.enter(place("key").value);
    await start();
  } catch (error) {
    toast(error.message, "bad");
  }
});

// -- the beginning

let following = false;

async function start() {
  let welcome = true;
  try {
    welcome = await session.known();
  } catch (error) {
    welcome = error.status !== 401;
  }
  door = !welcome;
  if (session.may().keys) closed.delete("keys");
  else closed.add("keys");
  if (welcome && !following) {
    following = true;
    follow({ changed, job: (event) => job.shows(event.id) && job.look(), denied: () => { close(); start(); } });
  } else if (welcome) open();
  redraw(Object.keys(PARTS));
}

window.addEventListener("hashchange", () => { go(); place("main").focus({ preventScroll: true }); scrollTo(0, 0); });
setInterval(() => { if (!document.hidden) changed(["tick"]); }, 1000);
show(place("foot"), h("p", h("a", { href: "openapi.json" }, "openapi.json"), " · ", h("a", { href: "health" }, "health")));
go();
start();
