// The newest jobs that have ended, and how.

import { h } from "./dom.js";
import { known } from "./feed.js";
import { clock, count, duration, line, since, time } from "./format.js";
import { button, client, link, model, subject, what } from "./words.js";

const SHOWN = 14;
const HEADS = ["Job", "Client", "Waited", "Load", "First token", "Tokens/s", "Total", "Ago", "Outcome"];

export function recent() {
  const jobs = known.recent;
  if (!jobs?.length) return null;
  const ordered = [...jobs].sort((a, b) => ((a.finished_at ?? "9") < (b.finished_at ?? "9") ? 1 : -1)).slice(0, SHOWN);
  return h("section.card.recent", { "aria-labelledby": "recent-head" },
    h("header", h("h2", { id: "recent-head" }, "Recent jobs")),
    h("table",
      h("thead", h("tr", HEADS.map((name, n) => h(`th${n > 1 && n < 8 ? ".num" : ""}`, { scope: "col" }, name)))),
      h("tbody", ordered.map(row))));
}

// Tokens a second, from the first of them on.
export function speed(stats) {
  if (!stats?.output_tokens || stats.first_byte_seconds === null) return null;
  const took = stats.total_seconds - stats.load_seconds - stats.first_byte_seconds;
  return took > 0.02 ? stats.output_tokens / took : null;
}

function row(job) {
  const stats = job.stats ?? {}, pace = speed(job.stats);
  return h("tr", { "data-key": job.id },
    h("th", { scope: "row" }, link(job, model(job)), h("span.faint.what", what(job))),
    h("td.who", client(job)),
    cell("Waited", duration(stats.waited_seconds)),
    cell("Load", stats.load_seconds ? duration(stats.load_seconds) : "–"),
    cell("First token", duration(stats.first_byte_seconds)),
    cell("Tokens/s", pace === null ? "–" : pace.toFixed(pace < 9.95 ? 1 : 0), stats.output_tokens ? `${count(stats.output_tokens)} tokens` : null),
    cell("Total", duration(stats.total_seconds)),
    h("td.num.faint", { "data-name": "Ago", title: time(job.finished_at) }, job.finished_at ? clock(since(job.finished_at)) : "now"),
    h("td.end", outcome(job), job.links?.retry && button("Retry", "retry", job.id, { label: `Retry ${subject(job)}` })));
}

const cell = (name, value, title = null) => h("td.num", { "data-name": name, title }, value);

export function outcome(job) {
  const why = job.error ? line(job.error.message ?? job.error.code) : null;
  return h("span.outcome", { "data-tone": { done: "go", failed: "bad" }[job.state] ?? null, title: why },
    h("i.lamp", { "aria-hidden": "true" }), job.state, why && job.state === "failed" && h("span.unseen", `: ${why}`));
}
