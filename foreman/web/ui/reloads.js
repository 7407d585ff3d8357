// What loading models has cost, what was saved, and who made each load necessary.

import { h } from "./dom.js";
import { known } from "./feed.js";

export function reloads() {
  if (!known.reloads) return null;
  return h("section.card.reloads", { "aria-labelledby": "reloads-head" }, h("header", h("h2", { id: "reloads-head" }, "Reloads")));
}
