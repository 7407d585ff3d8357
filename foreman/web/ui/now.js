// The head of the page, the two lanes, and what is loaded.

import { h, s } from "./dom.js";
import { known, rate, running } from "./feed.js";
import { clock, count, line, plural, short, since, size, time, until, WHY } from "./format.js";
import { button, chips, client, empty, hue, link, model, subject, what } from "./words.js";

const STATES = {
  working: ["Working", "go"], loading: ["Loading a model", "go"], idle: ["Idle", "calm"], paused: ["Paused", "hold"],
  held: ["Held by the gate", "hold"], down: ["Target does not answer", "bad"], storage: ["Database takes no writes", "bad"],
  draining: ["Stopping", "hold"], lost: ["No connection to foreman", "bad"], starting: ["Connecting", "calm"],
};

// The one word for how foreman is.
export function condition() {
  if (known.link !== "live") return known.link;
  const { health, queue } = known, runs = running();
  if (health?.status === "storage") return "storage";
  if (health?.status === "draining") return "draining";
  if (queue?.paused) return "paused";
  if (health?.target?.reachable === false) return "down";
  if (runs.some((job) => job.state === "working")) return "working";
  if (runs.length) return "loading";
  return queue?.waiting.some((job) => job.hold) ? "held" : "idle";
}

export const saying = () => STATES[condition()][0];

export function top(may) {
  const [word, tone] = STATES[condition()], target = known.health?.target;
  return [
    h("a.mark", { href: "#/", "aria-label": "foreman, overview" }, mark(), h("span", "foreman")),
    h("p.state", { "data-tone": tone }, h("i.lamp", { "aria-hidden": "true" }), h("b", word)),
    target && h("p.target",
      h("span", "Ollama at ", h("bdi", line(target.url.replace(/^https?:\/\//, "")))),
      h("span", polled(target)),
      target.reachable !== false && h("span", plural(target.models, "model"))),
    h("div.acts", known.queue && may.pause && (known.queue.paused
      ? button("Resume", "resume", "", { quiet: false })
      : button("Pause", "pause", "", { label: "Pause: begin no further job" })),
    may.leave && button("Sign out", "leave", "")),
  ];
}

function mark() {
  return s("svg", { viewBox: "0 0 22 20", width: 22, height: 20, "aria-hidden": "true" },
    s("rect.lit", { x: 0, y: 1, width: 22, height: 4.6, rx: 2.3 }),
    s("rect", { x: 0, y: 7.7, width: 15, height: 4.6, rx: 2.3 }),
    s("rect", { x: 0, y: 14.4, width: 9, height: 4.6, rx: 2.3 }));
}

function polled(target) {
  if (!target.last_poll) return "not asked yet";
  const ago = clock(since(new Date(target.last_poll * 1000).toISOString()));
  return target.reachable === false ? `last asked ${ago} ago` : `answered ${ago} ago`;
}

export function trouble() {
  const { health, queue } = known, target = health?.target;
  const notes = [];
  if (known.link === "lost") notes.push(["bad", "The connection to foreman is lost; this page asks again by itself. What you see is the last it heard."]);
  if (target?.reachable === false) {
    notes.push(["bad", `Ollama at ${line(target.url)} does not answer${target.error ? ` (${line(target.error)})` : ""}. Jobs wait, and go on when it is back.`]);
  }
  if (health?.storage?.error) notes.push(["bad", `The database takes no writes: ${line(health.storage.error)}`]);
  if (queue?.paused) notes.push(["hold", "The queue is paused: what runs may end, nothing new begins."]);
  return notes.map(([tone, text]) => h("p.note", { "data-tone": tone }, text));
}

export function lanes() {
  const { queue } = known;
  if (!queue) return null;
  const { local, remote } = queue.lanes;
  const busy = Boolean(remote.running.length || remote.queued || known.health?.remotes?.length);
  return h(`section.lanes${busy ? ".two" : ""}`, { "aria-label": "What runs" },
    h("article.card.lane", heading("Local lane", "one job at a time"), localJob(local, queue), resident()),
    busy && h("article.card.lane", heading("Remote lane", `${remote.running.length} of ${plural(remote.slots, "slot")} taken`),
      remoteJobs(remote, queue)));
}

const heading = (text, aside) => h("header", h("h2", text), h("span.faint", aside));

function localJob(lane, queue) {
  const [job] = lane.running;
  return [
    job ? current(job) : idle(lane, queue),
    next(lane, queue, "local"),
  ];
}

function idle(lane, queue) {
  const words = queue.paused ? "Paused. Nothing begins until the queue is resumed."
    : lane.queued ? "Nothing runs here at the moment." : "Nothing to do. The next request begins at once.";
  return h("div.current.still", h("p.big", "Idle"), h("p.faint", words));
}

// What says nothing in tokens.
const SILENT = new Set(["/api/pull", "/api/create", "/slots", "/api/embed", "/api/embeddings", "/v1/embeddings"]);

function current(job) {
  const pace = known.pace.get(job.id), speed = rate(job.id), tokens = pace?.tokens ?? job.tokens;
  const loading = job.state === "loading";
  return h("div.current", { "data-key": job.id },
    h("div.who",
      h("h3", link(job, model(job)), chips(job.load_key)),
      h("p", client(job), h("span.faint", ` · ${what(job)} · ${loading ? "loading" : "working"} for `),
        h("span.num", clock(since(job.claimed_at) ?? 0)),
        job.attempts > 1 && h("span.faint", ` · attempt ${job.attempts} of ${job.max_attempts}`))),
    SILENT.has(job.path) ? h("div.figures")
      : loading ? h("div.figures", h("p.figure", h("b.pulse", "loading"), h("span", "first token to come")))
      : h("div.figures",
        h("p.figure", h("b.num", tokens === null || tokens === undefined ? "–" : count(tokens)), h("span", "tokens")),
        h("p.figure", h("b.num", speed === null ? "–" : speed.toFixed(speed < 9.95 ? 1 : 0)), h("span", "tokens/s")),
        trace(job.id)),
    h("div.acts", button("Cancel", "cancel", job.id, { label: `Cancel ${subject(job)}` })));
}

// The rate over the last half minute, as a line.
function trace(id) {
  const samples = known.pace.get(id)?.samples ?? [], points = [];
  const last = samples[samples.length - 1]?.[0] ?? 0;
  for (let back = 0; back < 30; back += 0.5) {
    const end = last - back * 1000, part = samples.filter(([at]) => at <= end && at > end - 1600);
    const [first, latest] = [part[0], part[part.length - 1]];
    // Less than that says little: what comes first comes all at once.
    if (!first || latest[0] - first[0] < 1000) break;
    points.push([back, ((latest[1] - first[1]) * 1000) / (latest[0] - first[0])]);
  }
  if (points.length < 4) points.length = 0;
  const most = Math.max(...points.map(([, value]) => value), 0.1);
  const text = points.map(([back, value]) => `${(120 - back * 4).toFixed(1)},${(30 - (value / most) * 27).toFixed(1)}`).join(" ");
  return s("svg.trace", { viewBox: "0 0 120 32", "aria-hidden": "true" },
    s("line", { x1: 0, x2: 120, y1: 31, y2: 31 }), s("polyline", { points: text }));
}

function next(lane, queue, name) {
  const first = queue.waiting.find((job) => job.lane === name && !job.hold) ?? queue.waiting.find((job) => job.lane === name);
  if (!first) return h("p.next.faint", lane.running.length ? "Nobody waits behind it." : "");
  const reason = first.hold ? `held: ${line(first.hold.text)}` : why(first, lane);
  return h("p.next", h("span.eyebrow", "Next"), link(first, model(first)), chips(first.load_key), client(first),
    h("span.why", { "data-tone": first.hold || queue.paused ? "hold" : null }, reason));
}

function why(job, lane) {
  const blocked = lane.waits_for === "slot" && job.lane === "local" ? "waits for the running job" : WHY[lane.waits_for];
  const then = { swap: "then its model is loaded", reload: "then its model loads again", loaded: "its model is loaded" }[job.reason];
  return [blocked ?? "begins now", then].filter(Boolean).join(", ");
}

function resident() {
  const models = known.health?.target?.reachable === false ? [] : known.machine?.resident ?? known.health?.target?.resident ?? [];
  if (!models.length) return h("p.resident.faint", h("span.eyebrow", "Loaded"), "no model");
  return h("div.resident", h("span.eyebrow", "Loaded"), h("ul", models.map((one) => h("li", { "data-key": one.model },
    h("span.model", h(`i.dot.${hue(canonical(one.model))}`, { "aria-hidden": "true" }), h("bdi", short(one.model))),
    h("span.num.faint", size(one.size)),
    one.context_length && h("span.num.faint", `${count(one.context_length)} context`),
    h("span.num", unloads(one))))));
}

const canonical = (name) => [...known.models.keys()].find((one) => short(one) === short(name)) ?? name;

function unloads(one) {
  const left = until(one.unloads_at);
  if (left === null || Number.isNaN(left)) return "";
  if (left > 365 * 86400) return "stays loaded";
  return left <= 0 ? "unloads now" : h("span", { title: time(one.unloads_at) }, `unloads in ${clock(left)}`);
}

function remoteJobs(lane, queue) {
  const rows = lane.running.map((job) => {
    const speed = rate(job.id), tokens = known.pace.get(job.id)?.tokens ?? job.tokens;
    return h("li", { "data-key": job.id }, link(job, model(job)), client(job),
      h("span.num.faint", tokens ? `${count(tokens)} tokens` : "waits for the first token"),
      h("span.num.faint", speed ? `${speed.toFixed(0)}/s` : ""),
      h("span.num", clock(since(job.claimed_at) ?? 0)),
      button("Cancel", "cancel", job.id, { label: `Cancel ${subject(job)}` }));
  });
  const slots = h("p.slots", { "aria-hidden": "true" },
    Array.from({ length: lane.slots }, (_, n) => h(`i${n < lane.running.length ? ".taken" : ""}`)));
  return [slots, rows.length ? h("ul.rows", rows) : empty("No request to a remote API runs."), next(lane, queue, "remote"), remotes()];
}

function remotes() {
  const paused = (known.health?.remotes ?? []).filter((one) => one.paused_seconds > 0);
  return paused.map((one) => h("p.note", { "data-tone": "hold" }, `${line(one.name)} asked for a pause: ${clock(one.paused_seconds)} left.`));
}
