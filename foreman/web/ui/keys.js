// Who has been given a key, and what was done for each.

import { h } from "./dom.js";
import { known } from "./feed.js";
import { clock, count, duration, line, since } from "./format.js";

export function keys() {
  const list = known.keys?.keys.filter((one) => !one.revoked_at) ?? [];
  if (!list.length) return null;
  const most = [...list].sort((a, b) => b.usage.busy_seconds - a.usage.busy_seconds).slice(0, 12);
  return h("section.card.keys", { "aria-labelledby": "keys-head" },
    h("header", h("h2", { id: "keys-head" }, "Keys"), h("span.faint", "what was done for each")),
    h("table", h("thead", h("tr", ["Key", "Jobs", "Tokens", "At work", "Last used"].map((name, n) => h(`th${n ? ".num" : ""}`, { scope: "col" }, name)))),
      h("tbody", most.map((one) => h("tr", { "data-key": one.id },
        h("th", { scope: "row" }, h("bdi", line(one.label || one.id)), h("span.faint.what", one.scopes.map(line).join(", "))),
        cell("Jobs", count(one.usage.jobs)), cell("Tokens", count(one.usage.prompt_tokens + one.usage.output_tokens)),
        cell("At work", duration(one.usage.busy_seconds)),
        cell("Last used", one.last_used_at ? `${clock(since(one.last_used_at))} ago` : "never"))))));
}

const cell = (name, value) => h("td.num", { "data-name": name }, value);
