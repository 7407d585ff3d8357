// Small pieces that several parts of the page show alike.

import { h } from "./dom.js";
import { known } from "./feed.js";
import { kind, line, options, short } from "./format.js";

export function hue(model) {
  return `m${known.models.get(model) ?? 7}`;
}

// What a job is about: its model, or what a command is called.
export function subject(job) {
  return job.label ? line(job.label) : short(String(job.model));
}

export function model(job, tag = "span") {
  return h(`${tag}.model`, h(`i.dot.${hue(job.model)}`, { "aria-hidden": "true" }), h("bdi", subject(job)));
}

export function chips(key) {
  return options(key).map((text) => h("span.chip", h("bdi", text)));
}

// Of "python-requests/2.32 10.0.0.4" the program, and where it runs where that is not here.
export function client(job) {
  const text = line(job.client || "somebody"), at = text.lastIndexOf(" ");
  const [name, address] = at > 0 ? [text.slice(0, at), text.slice(at + 1)] : [text, ""];
  const away = !["127.0.0.1", "::1"].includes(address) && address;
  return h("span.client", { title: text }, h("bdi", name.replace(/\/\d[^ ]*$/, "")), away && h("span.faint", ` ${away}`));
}

export const what = (job) => kind(job.path);

// Of the jobs of other keys there is nothing to press, and nothing to go to.
export function button(text, act, id, how = {}) {
  if (id === undefined) return null;
  const { quiet = true, label } = how;
  return h(`button.${quiet ? "quiet" : "solid"}`, { type: "button", "data-act": act, "data-id": id, "aria-label": label }, text);
}

export const link = (job, ...inside) =>
  job.id ? h("a", { href: `#/jobs/${encodeURIComponent(job.id)}` }, ...inside) : h("span", ...inside);

export function empty(...inside) {
  return h("p.empty", ...inside);
}
