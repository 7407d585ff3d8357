// Who waits, in the order in which they will run, grouped by what must be loaded for them.

import { h } from "./dom.js";
import { FIRST, known } from "./feed.js";
import { clock, count, line, plural, since, time, until, WHY } from "./format.js";
import { button, chips, client, empty, link, model, subject, what } from "./words.js";

// So many of a group are shown at first.
const SHOWN = 5;
const opened = new Set();

export function unfold(key) {
  if (!opened.delete(key)) opened.add(key);
}

export function queue() {
  const told = known.queue;
  if (!told) return null;
  const waiting = told.waiting, more = told.depth - waiting.length - told.delayed.length;
  const oldest = known.health?.queue?.oldest_wait_seconds;
  return h("section.card.queue", { "aria-labelledby": "queue-head" },
    h("header", h("h2", { id: "queue-head" }, "Queue"),
      h("span.faint", waiting.length ? `${plural(told.depth, "job")}, in the order they will run${oldest > 60 ? ` · the oldest for ${clock(oldest)}` : ""}` : "")),
    waiting.length ? groups(waiting).map(group) : nobody(),
    more > 0 && waiting.length >= FIRST ? h("p.faint", `and ${count(more)} more`) : null,
    told.delayed.length ? later(told.delayed) : null);
}

function groups(waiting) {
  const found = [];
  for (const job of waiting) {
    const last = found[found.length - 1];
    if (last && last.key === job.load_key && last.lane === job.lane) last.jobs.push(job);
    else found.push({ key: job.load_key, lane: job.lane, jobs: [job], n: found.length });
  }
  return found;
}

function group({ key, lane, jobs, n }) {
  const [first] = jobs, id = `${n} ${lane} ${key}`, all = opened.has(id), held = jobs.find((job) => job.hold)?.hold;
  const shown = all ? jobs : jobs.slice(0, jobs.length > SHOWN + 1 ? SHOWN : jobs.length);
  return h("section.group", { "data-key": id, "data-tone": held ? "hold" : null },
    between(first),
    h("header", h("h3", model(first), chips(key), lane === "remote" && h("span.chip", "remote")),
      h("span.num.faint", plural(jobs.length, "job"))),
    held && h("p.held", `Held: ${line(held.text)}${soon(held)}`),
    h("ol.rows", shown.map(row)),
    shown.length < jobs.length || all ? h("button.quiet.fold", { type: "button", "data-act": "unfold", "data-id": id, "aria-expanded": String(all) },
      all ? "Show fewer" : `Show ${jobs.length - shown.length} more`) : null);
}

// While a job runs nobody looks, for nothing could begin.
const soon = (held) => (until(held.next_look) > 0 ? `; looked at again at ${time(held.next_look)}` : "");

// What has to happen before the first of a group can run.
function between(job) {
  const text = { swap: "then this model is loaded", reload: "then it loads again, with other options",
    remote_lane: "then the remote lane has its turn", local_lane: "then the local lane has its turn" }[job.reason];
  return text && h("p.between", h("span", text));
}

function row(job) {
  return h("li", { "data-key": job.id },
    h("span.num.place", job.position ?? "·"),
    link(job, client(job)),
    h("span.faint.what", what(job), job.mode === "detached" && " · detached", job.attempts > 0 && ` · attempt ${job.attempts + 1}`),
    h("span.num.age", { title: time(job.created_at) }, h("span.unseen", "waits for "), clock(since(job.created_at) ?? 0)),
    h("span.num.start", start(job)),
    button("Cancel", "cancel", job.id, { label: `Cancel ${subject(job)}, place ${job.position ?? "unknown"}` }));
}

function start(job) {
  if (job.expected_start !== null && job.expected_start !== undefined) {
    return job.expected_start < 1 ? "starts now" : `starts in ~${clock(job.expected_start)}`;
  }
  const known = { held: "held", paused: "paused", target_down: "target is down" }[job.hold ? "held" : job.reason];
  return h("span.faint", known ? {} : { title: `${WHY[job.reason] ?? ""}; when is not known yet` }, known ?? "–");
}

function later(jobs) {
  return h("section.group", { "data-key": "later" },
    h("header", h("h3", "For later"), h("span.num.faint", plural(jobs.length, "job"))),
    h("ol.rows", jobs.slice(0, 20).map((job) => h("li", { "data-key": job.id }, h("span.num.place", "·"),
      link(job, model(job)), h("span.faint.what", what(job), job.attempts ? ` · attempt ${job.attempts + 1}` : ""),
      h("span.num.age"), h("span.num.start", `not before ${time(job.not_before)}`),
      button("Cancel", "cancel", job.id, { label: `Cancel ${subject(job)}` })))));
}

function nobody() {
  if (known.recent?.length || known.queue.lanes.local.running.length) return empty("Nobody waits.");
  const { host, origin } = location;
  return h("div.empty.guide", h("p", "Nobody has asked anything yet. Point a client here instead of at Ollama:"),
    h("dl",
      h("dt", "Ollama"), h("dd", h("code", `OLLAMA_HOST=${host} ollama run llama3`)),
      h("dt", "OpenAI"), h("dd", h("code", `base_url="${origin}/v1"`)),
      h("dt", "curl"), h("dd", h("code", `curl ${origin}/api/tags`))),
    h("p", "Whatever it sends is a job from then on, and shows up here."));
}
