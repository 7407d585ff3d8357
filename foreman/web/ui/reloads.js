// What loading models has cost, what the order of work saved, and who made each load necessary.

import { h } from "./dom.js";
import { known } from "./feed.js";
import { clock, count, duration, line, plural, short, time } from "./format.js";
import { chips, client, hue } from "./words.js";

const SHOWN = 6;

export function reloads() {
  const told = known.reloads;
  if (!told) return null;
  const { paid, avoided, since } = told, ledger = told.reloads;
  return h("section.card.reloads", { "aria-labelledby": "reloads-head" },
    h("header", h("h2", { id: "reloads-head" }, "Reloads"), h("span.faint", `since ${time(since)}`)),
    h("div.figures",
      h("p.figure", h("b.num", count(paid.count)), h("span", `paid, ${took(paid.minutes)}`)),
      h("p.figure.good", h("b.num", avoided ? count(avoided.count) : "–"), h("span", avoided ? `avoided${avoided.minutes === null ? "" : `, ~${took(avoided.minutes)}`}` : "avoided: not known"))),
    ledger.length ? [causes(ledger), h("h3", "Why"), h("ol.ledger", ledger.slice(0, SHOWN).map(row))]
      : h("p.empty", "No model had to be loaded yet."));
}

const took = (minutes) => (minutes < 1 ? clock(minutes * 60) : `${minutes.toFixed(minutes < 10 ? 1 : 0)} min`);

// Whose jobs needed the loads, the most first.
function causes(ledger) {
  const by = new Map();
  for (const one of ledger) by.set(one.client, [...(by.get(one.client) ?? []), one]);
  const most = [...by.entries()].sort(([, a], [, b]) => b.length - a.length).slice(0, 4), top = most[0][1].length;
  return [h("h3", "Caused by"), h("ul.causes", most.map(([, ones]) => h("li", { "data-key": ones[0].client },
    client(ones[0]), h("i.share", { "aria-hidden": "true", vars: { part: `${(ones.length / top) * 100}%` } }),
    h("span.num.faint", plural(ones.length, "load")))))];
}

function row(one) {
  return h("li", { "data-key": `${one.job} ${one.at}` },
    h("a.model", { href: `#/jobs/${one.job}`, title: time(one.at) }, h(`i.dot.${hue(one.model)}`, { "aria-hidden": "true" }), h("bdi", short(one.model))),
    h("span.num", one.loaded ? duration(one.seconds) : h("span.bad", "failed")),
    h("span.faint.reason", why(one)));
}

function why(one) {
  if (one.reason === "other_model") return `in the place of ${one.evicted.map(short).join(", ")}`;
  if (one.reason === "expired") return "it had been unloaded";
  if (one.reason === "first") return "for the first time";
  const changed = Object.entries(one.options).map(([name, { was, wanted }]) => `${line(name)} ${was ?? "by itself"} → ${wanted ?? "by itself"}`);
  return changed.length ? changed.join(", ") : ["other options ", chips(one.load_key)];
}
