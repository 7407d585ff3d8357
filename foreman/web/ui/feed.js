// What is known of foreman, and how it is kept so: one stream of events says what changes at once, and which of the
// routes are to be asked again. A stream that breaks is opened again, for ever; while the page is hidden there is none.

import { get } from "./api.js";

export const known = {
  link: "starting", // live, lost
  queue: null, health: null, machine: null, history: null, recent: null, reloads: null, keys: null,
  pace: new Map(), // by job: {samples: [[ms, tokens]], tokens}
  models: new Map(), // the colour of each
};

const COLOURS = 8;
const FINISHED = new Set(["done", "failed", "cancelled"]);
const RECENT = 60;
// So many of those that wait are asked for.
export const FIRST = 200;
// Seldom changes by itself; pause between asking again, in ms.
const EVERY = { health: 5000, machine: 5000, history: 10000, reloads: 15000, keys: 15000 };
// What is not asked for, because nobody here may see it.
export const closed = new Set(["keys"]);
// A burst of changes is asked about once in this time.
const GAP = 120;

const PATHS = {
  queue: `queue?limit=${FIRST}`, health: "health", keys: "keys", machine: "machine", history: "machine/history", reloads: "machine/reloads",
  recent: `jobs?state=done,failed,cancelled&limit=${RECENT}`,
};
const asking = new Map();
let stream = null, wait = 250, retry = 0, told = () => {}, heard = () => {}, refusedBy = () => {};

// `changed(names)` is called with what has changed, `job(event)` for every change of a job, `denied()` for a 401.
export function follow({ changed, job, denied }) {
  [told, heard, refusedBy] = [changed, job, denied];
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  for (const [name, pause] of Object.entries(EVERY)) setInterval(() => stream && refresh(name), pause);
  open();
}

export function open() {
  clearTimeout(retry);
  if (stream || document.hidden) return;
  stream = new EventSource("events?live=true");
  stream.addEventListener("snapshot", (event) => { queue(JSON.parse(event.data)); live(); });
  stream.addEventListener("job", (event) => change(JSON.parse(event.data)));
  stream.addEventListener("others", () => refresh("queue"));
  stream.addEventListener("state", (event) => state(JSON.parse(event.data)));
  stream.addEventListener("live", (event) => pace(JSON.parse(event.data).running));
  stream.onerror = lost;
}

export function close() {
  clearTimeout(retry);
  stream?.close();
  stream = null;
}

function live() {
  wait = 250;
  known.link = "live";
  for (const name of Object.keys(PATHS)) if (name !== "queue") refresh(name);
  told(["link", "queue"]);
}

function lost() {
  close();
  if (known.link !== "lost") { known.link = "lost"; told(["link"]); }
  retry = setTimeout(() => { known.link = "lost"; check(); }, wait);
  wait = Math.min(wait * 1.6, 4000);
}

// A stream says nothing of why it failed; a plain question does.
async function check() {
  try {
    known.health = await get("health");
    open();
  } catch (error) {
    if (error.status === 401) refusedBy();
    else lost();
  }
}

// Ask for one of PATHS: at once, or when the answer under way is there, so that the last change is always seen.
export async function refresh(name) {
  if (closed.has(name)) return;
  if (asking.has(name)) { asking.set(name, true); return; }
  asking.set(name, false);
  const began = performance.now();
  try {
    const found = await get(PATHS[name]);
    if (name === "queue") queue(found);
    else if (name === "recent") { known.recent = found.jobs; remember(found.jobs); }
    else known[name] = found;
    told([name]);
  } catch (error) {
    if (error.status === 404 || error.status === 403) { known[name] = null; told([name]); }
    if (error.status === 401) refusedBy();
  }
  setTimeout(() => {
    const again = asking.get(name);
    asking.delete(name);
    if (again && !document.hidden) refresh(name);
  }, Math.max(GAP, performance.now() - began));
}

function queue(found) {
  known.queue = found;
  remember([...running(), ...found.waiting]);
}

export function running() {
  return known.queue ? Object.values(known.queue.lanes).flatMap((lane) => lane.running) : [];
}

// Each model gets a colour by its name, or the next that is free, and keeps it.
function remember(jobs) {
  for (const { model } of jobs) {
    if (known.models.has(model)) continue;
    let colour = [...model].reduce((sum, sign) => (sum * 31 + sign.codePointAt(0)) >>> 0, 7) % COLOURS;
    const taken = new Set(known.models.values());
    while (taken.size < COLOURS && taken.has(colour)) colour = (colour + 1) % COLOURS;
    known.models.set(model, colour);
  }
}

// A change of a job is shown at once, as far as the event tells it; the queue as a whole follows.
function change(job) {
  const lists = known.queue;
  if (!lists) return;
  const before = [...running(), ...lists.waiting].find((one) => one.id === job.id);
  const now = { ...before, ...job };
  for (const lane of Object.values(lists.lanes)) lane.running = lane.running.filter((one) => one.id !== job.id);
  const at = lists.waiting.findIndex((one) => one.id === job.id);
  if (at >= 0) lists.waiting.splice(at, 1);
  if (job.state === "queued") {
    lists.waiting.splice(at >= 0 ? at : lists.waiting.length, 0, now);
    known.pace.delete(job.id);
  } else if (FINISHED.has(job.state)) {
    known.pace.delete(job.id);
    known.recent = [now, ...(known.recent ?? []).filter((one) => one.id !== job.id)].slice(0, RECENT);
    refresh("recent");
    refresh("reloads");
  } else {
    lists.lanes[job.lane]?.running.push({ ...now, claimed_at: now.claimed_at ?? new Date().toISOString() });
  }
  remember([now]);
  refresh("queue");
  heard(job);
  told(["queue", "recent"]);
}

function state(now) {
  known.health = { ...known.health, ...now };
  if (known.queue) known.queue.paused = now.paused;
  if (known.machine) known.machine.resident = now.target.resident;
  refresh("queue");
  refresh("machine");
  told(["health", "queue", "machine"]);
}

function pace(jobs) {
  const at = performance.now();
  for (const { id, tokens, output_bytes: bytes } of jobs) {
    const one = known.pace.get(id) ?? { samples: [] };
    one.tokens = tokens;
    one.bytes = bytes;
    if (tokens !== null) one.samples = [...one.samples, [at, tokens]].slice(-150);
    known.pace.set(id, one);
  }
  told(["pace"]);
}

// Tokens a second over the last three seconds; null before there is enough to say.
export function rate(id) {
  const samples = known.pace.get(id)?.samples ?? [];
  if (samples.length < 2) return null;
  const last = samples[samples.length - 1];
  const first = samples.find(([at]) => last[0] - at <= 3000);
  return last[0] - first[0] < 300 ? null : ((last[1] - first[1]) * 1000) / (last[0] - first[0]);
}
