// The line: the last jobs and the next ones side by side, coloured by model. Long stretches of one colour are what
// foreman is for: every change of colour is a model that had to be loaded.

import { h } from "./dom.js";
import { known, running } from "./feed.js";
import { plural, short } from "./format.js";
import { hue, subject } from "./words.js";

const PAST = 44, AHEAD = 44, NAMES = 6;

export function ribbon() {
  const { queue, recent } = known;
  if (!queue || !recent) return null;
  const ran = recent.filter((job) => job.lane === "local" && job.claimed_at);
  const past = ran.sort((a, b) => (a.claimed_at < b.claimed_at ? 1 : -1)).slice(0, PAST).reverse();
  const now = running().filter((job) => job.lane === "local");
  const ahead = queue.waiting.filter((job) => job.lane === "local" && !job.hold).slice(0, AHEAD);
  if (past.length + now.length + ahead.length < 2) return null;
  const all = [...past, ...now, ...ahead], names = [...new Set(all.map((job) => job.model))];
  const text = `${plural(stretches(past), "stretch", "stretches")} of one model in the last ${plural(past.length, "job")}, `
    + `${stretches(ahead)} in the next ${plural(ahead.length, "job")}`;
  return h("section.card.line", { "aria-labelledby": "line-head" },
    h("header", h("h2", { id: "line-head" }, "The line"), h("span.faint", "each change of colour is a model to load")),
    h("div.ribbon", { role: "img", "aria-label": text },
      h("div.past", cells(past)), h("div.present", now.length ? cells(now) : h("i.none")), h("div.ahead", cells(ahead))),
    h("div.scale", { "aria-hidden": "true" }, h("span", "done"), h("span", "now"), h("span", ahead.length ? "next" : "nobody waits")),
    h("ul.legend", names.slice(0, NAMES).map((name) => h("li", h(`i.dot.${hue(name)}`), h("bdi", short(name)))),
      names.length > NAMES && h("li.faint", `and ${names.length - NAMES} more`)));
}

function cells(jobs) {
  return jobs.map((job, n) => {
    const first = n === 0 || jobs[n - 1].load_key !== job.load_key ? ".first" : "";
    const failed = job.state === "failed" || job.state === "cancelled" ? ".failed" : "";
    return h(`i.${hue(job.model)}${first}${failed}`, { "data-key": job.id, title: `${subject(job)} · ${job.state}` });
  });
}

function stretches(jobs) {
  return jobs.filter((job, n) => n === 0 || jobs[n - 1].load_key !== job.load_key).length;
}
