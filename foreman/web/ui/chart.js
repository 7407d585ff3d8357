// A line over the last quarter of an hour, with its threshold.

import { h, s } from "./dom.js";
import { time } from "./format.js";

const SPAN = 15 * 60 * 1000, WIDTH = 300, HEIGHT = 64;

// `points` are [unix ms, value]; values beyond `limit` (`above` or below it) are the bad ones. `mark` is where the line
// would go next.
export function chart(name, points, { limit, above = false, top, mark = null, text }) {
  const end = Math.max(Date.now(), points[points.length - 1]?.[0] ?? 0), most = Math.max(top ?? 0, limit ?? 0, ...points.map(([, v]) => v)) || 1;
  const x = (at) => WIDTH - ((end - at) / SPAN) * WIDTH, y = (value) => HEIGHT - 1 - (Math.max(0, value) / most) * (HEIGHT - 3);
  const seen = points.filter(([at]) => end - at <= SPAN);
  const path = seen.map(([at, value], n) => `${n ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const area = seen.length > 1 ? `${path}L${x(seen[seen.length - 1][0]).toFixed(1)} ${HEIGHT}L${x(seen[0][0]).toFixed(1)} ${HEIGHT}Z` : "";
  const values = seen.map(([, value]) => value);
  const label = values.length ? `${name} over the last 15 minutes: ${text(Math.min(...values))} to ${text(Math.max(...values))}, `
    + `threshold ${text(limit)}` : `${name}: no readings yet`;
  return h("figure.chart",
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      limit > 0 && s("rect.beyond", above ? { x: 0, width: WIDTH, y: 0, height: y(limit) } : { x: 0, width: WIDTH, y: y(limit), height: HEIGHT - y(limit) }),
      area && s("path.area", { d: area }), path && s("path.stroke", { d: path }),
      limit > 0 && s("line.limit", { x1: 0, x2: WIDTH, y1: y(limit), y2: y(limit) }),
      mark !== null && s("line.mark", { x1: WIDTH - 26, x2: WIDTH, y1: y(mark), y2: y(mark) })),
    h("figcaption", { "aria-hidden": "true" }, h("span", seen.length ? time(new Date(end - SPAN).toISOString()).slice(-8, -3) : ""),
      h("span", seen.length ? "now" : "readings come every ten seconds")));
}
