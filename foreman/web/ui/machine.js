// The machine against its thresholds, with its last quarter of an hour.

import { chart } from "./chart.js";
import { h } from "./dom.js";
import { known } from "./feed.js";
import { line, size } from "./format.js";

export function machine() {
  const { machine: told } = known;
  if (!told) return null;
  const { readings, thresholds, gate } = told;
  return h("section.card.machine", { "aria-labelledby": "machine-head" },
    h("header", h("h2", { id: "machine-head" }, "Machine"), h("span.faint", watching(gate))),
    h("div.tiles", load(readings, thresholds), memory(readings, thresholds, told.next), disk(readings, thresholds)),
    readings.foreign?.length ? h("p.note", { "data-tone": "hold" }, `Busy with something else: ${readings.foreign.map(line).join(", ")}`) : null,
    told.next?.verdict && told.next.verdict !== "admit" && h("p.note", { "data-tone": "hold" }, line(told.next.text)));
}

function watching(gate) {
  return gate.on ? "a load is held while one is beyond its line" : "foreman's own; the gate is off, nothing is held";
}

function tile(name, value, unit, aside, tone, drawing) {
  return h("article.tile", { "data-tone": tone },
    h("header", h("h3", name), h("span.faint", aside)),
    h("p.figure", h("b.num", value), h("span", unit)), drawing);
}

const points = (key) => (known.history?.readings ?? []).map((mark) => [Date.parse(mark.at), mark[key]]).filter(([, value]) => value !== null);

function load(readings, { max_load_per_core: limit }) {
  const now = readings.load_per_core;
  return tile("Load of others", now === null ? "–" : now.toFixed(2), "per core", `holds above ${limit.toFixed(2)}`,
    now > limit ? "hold" : null,
    chart("Load per core", points("load_per_core"), { limit, above: true, top: Math.max(limit * 1.6, 0.1), text: (v) => v.toFixed(2) }));
}

function memory(readings, { memory_reserve: limit }, next) {
  const now = readings.memory_available, total = readings.memory_total;
  const after = next && next.needed !== null && next.there !== null ? next.there + limit - next.needed : null;
  const low = now !== null && now < limit;
  const drawing = chart("Memory available", points("memory_available"), { limit, top: total, mark: after, text: size });
  const says = after === null ? next && next.verdict === "admit" && h("p.after.none", "the next job loads nothing")
    : h("p.after", { "data-tone": after < limit ? "hold" : null }, "after the next load ", h("b.num", after < 0 ? "too little" : size(after)));
  return tile("Memory", size(now), total ? `free of ${size(total)}` : "free", `keeps ${size(limit)}`, low ? "hold" : null, [drawing, says]);
}

function disk(readings, { disk_reserve: limit }) {
  const now = readings.disk_free, total = readings.disk_total;
  return tile("Disk", size(now), total ? `free of ${size(total)}` : "free", limit ? `keeps ${size(limit)}` : "keeps nothing free",
    now !== null && now < limit ? "hold" : null, chart("Disk free", points("disk_free"), { limit, top: total, text: size }));
}
