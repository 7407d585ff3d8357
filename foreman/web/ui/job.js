// One job: how it went, its attempts, and on request what was asked and answered.

import { flat, listen, spoken } from "./answer.js";
import { ask, get, refused } from "./api.js";
import { h, show } from "./dom.js";
import { known, rate } from "./feed.js";
import { clock, count, duration, line, plain, plural, since, size, time, WHY } from "./format.js";
import { outcome, speed } from "./recent.js";
import { button, chips, client, empty, model, what } from "./words.js";

const LONGEST = 400_000;
let job = null, trouble = "", wanted = "", asked = false, listening = null, changed = () => {};
const heard = { thinking: "", text: "", ended: "" };

export function enter(id, told) {
  leave();
  [wanted, changed] = [id, told];
  look();
}

export function leave() {
  listening?.abort();
  [job, trouble, wanted, asked, listening] = [null, "", "", false, null];
  Object.assign(heard, { thinking: "", text: "", ended: "" });
}

// The events told that it changed.
export async function look() {
  const id = wanted;
  if (!id) return;
  try {
    const found = await get(`jobs/${encodeURIComponent(id)}`);
    if (id === wanted) [job, trouble] = [found, ""];
  } catch (error) {
    if (id === wanted) trouble = error.message;
  }
  changed();
}

export const shows = (id) => id === wanted;

export function page() {
  if (!job) return [back(), h("h1", "Job"), empty(trouble ? line(trouble) : "Asking foreman…")];
  const living = !job.finished_at, pace = known.pace.get(job.id);
  return [back(),
    h("header.head", h("h1", model(job)), chips(job.load_key), outcome(job),
      h("div.acts", living && button("Cancel", "cancel", job.id),
        job.links.retry && button("Retry", "retry", job.id, { quiet: false }),
        !living && button("Forget", "forget", job.id))),
    job.error && h("p.note", { "data-tone": "bad" }, line(job.error.message ?? job.error.code), h("span.faint", ` (${line(job.error.code)})`)),
    job.hold && h("p.note", { "data-tone": "hold" }, `Held: ${line(job.hold.text)}.`),
    course(), facts(pace), attempts(), h("section.card.said", { "data-key": `said ${job.id}`, "aria-labelledby": "said-head" },
      h("header", h("h2", { id: "said-head" }, "Prompt and answer"),
        h("span.faint", "private: shown only when you ask, and only as text")),
      asked ? [h("div", { id: "request", "data-own": "" }), h("div", { id: "answer", "data-own": "", tabindex: "0", role: "group", "aria-label": "Answer" })]
        : h("p", button("Show prompt and answer", "reveal", job.id)))];
}

const back = () => h("nav.back", { "aria-label": "Where you are" }, h("a", { href: "#/" }, "← Overview"));

// Waiting, loading, the first token, the answer: as one bar.
function course() {
  const stats = job.stats;
  if (!stats) return null;
  const load = stats.load_seconds, first = stats.first_byte_seconds ?? stats.total_seconds - load;
  const parts = [["waited", stats.waited_seconds], ["load", load], ["first token", first], ["answer", stats.total_seconds - load - first]];
  const all = parts.reduce((sum, [, value]) => sum + Math.max(0, value), 0) || 1;
  return h("section.card.course", { "aria-label": "How its time went" },
    h("div.bar", { "aria-hidden": "true" }, parts.map(([name, value]) => h(`i.${name.split(" ")[0]}`, { vars: { part: `${(Math.max(0, value) / all) * 100}%` } }))),
    h("dl", parts.map(([name, value]) => h("div", h(`dt.${name.split(" ")[0]}`, name), h("dd.num", duration(Math.max(0, value)))))));
}

function facts(pace) {
  const stats = job.stats ?? {}, now = rate(job.id), then = speed(job.stats);
  const tokens = stats.output_tokens ?? pace?.tokens ?? job.tokens;
  const rows = [
    ["Client", client(job)], ["Asked for", `${what(job)} (${line(job.path)}), ${job.mode}`], ["Lane", job.lane],
    ["Arrived", time(job.created_at)],
    !job.finished_at && job.state === "queued" && ["Waits", `${clock(since(job.created_at))}, place ${job.position ?? "not known"}: ${WHY[job.reason] ?? "about to begin"}`],
    job.not_before && job.state === "queued" && ["Not before", time(job.not_before)],
    job.claimed_at && ["Began", time(job.claimed_at)], job.finished_at && ["Ended", time(job.finished_at)],
    stats.prompt_tokens && ["Prompt", plural(stats.prompt_tokens, "token")],
    tokens && ["Answer", `${plural(tokens, "token")}${then ?? now ? `, ${(then ?? now).toFixed(1)} a second` : ""}`],
    !tokens && pace?.bytes ? ["Answer", size(pace.bytes)] : null,
    job.status && ["Status", String(job.status)], job.kept && ["Kept", "yes, stays when its time is over"],
    job.retry_of && ["Repeats", h("a", { href: `#/jobs/${job.retry_of}` }, h("code", job.retry_of))], ["Id", h("code", job.id)],
  ];
  return h("section.card", { "aria-label": "Facts" }, h("dl.facts", rows.filter(Boolean).map(([name, value]) => h("div", h("dt", name), h("dd", value)))));
}

function attempts() {
  return h("section.card", { "aria-labelledby": "attempts-head" },
    h("header", h("h2", { id: "attempts-head" }, "Attempts"), h("span.faint", `${job.attempts} of ${job.max_attempts} counted`)),
    job.history.length ? h("ol.rows.attempts", job.history.map((one) => h("li", { "data-key": String(one.n) },
      h("span.num.place", one.n), h("span.num", time(one.started_at)),
      h("span.num", one.ended_at ? duration((Date.parse(one.ended_at) - Date.parse(one.started_at)) / 1000) : "under way"),
      h("span", line(one.outcome ?? "")), one.error && h("span.bad", line(one.error.message ?? one.error.code))))) : empty("None has begun."));
}

// -- prompt and answer

export async function reveal() {
  asked = true;
  changed();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  document.getElementById("answer")?.focus({ preventScroll: true });
  const id = wanted;
  request(id);
  answer(id);
}

async function request(id) {
  const place = document.getElementById("request");
  try {
    const told = await ask(`jobs/${encodeURIComponent(id)}/request`);
    if (!told.ok) throw await refused(told);
    if (id !== wanted || !place) return;
    if (!told.headers.get("Content-Type")?.includes("json")) { show(place, empty("An uploaded file.")); return; }
    const { said, other } = spoken(await told.json());
    show(place, said.map(({ role, text }) => quote(role, text)),
      other.length ? h("details", h("summary", `${plural(other.length, "more field")}`), h("pre", plain(JSON.stringify(Object.fromEntries(other), null, 2)).slice(0, LONGEST))) : null);
  } catch (error) {
    if (place) show(place, empty(line(error.message)));
  }
}

const quote = (role, text) => h("div.quote", { "data-role": role }, h("h3", line(role)), h("pre", plain(flat(text)).slice(0, LONGEST)));

async function answer(id) {
  listening = new AbortController();
  const { signal } = listening;
  try {
    const told = await fetch(`jobs/${encodeURIComponent(id)}/response`, { signal, cache: "no-store", credentials: "same-origin" });
    if (told.headers.has("X-Foreman-Error")) throw await refused(told);
    await listen(told, (piece) => {
      heard.text = (heard.text + (piece.text ?? "")).slice(0, LONGEST);
      heard.thinking = (heard.thinking + (piece.thinking ?? "")).slice(0, LONGEST);
      written();
    }, signal);
    heard.ended = heard.text || heard.thinking ? "" : "The answer holds no text.";
  } catch (error) {
    if (signal.aborted) return;
    heard.ended = line(error.message);
  }
  written();
}

let due = 0;
function written() {
  due ||= requestAnimationFrame(() => {
    due = 0;
    const place = document.getElementById("answer");
    if (!place) return;
    show(place, heard.thinking && h("details.quote", { "data-role": "thinking", open: true }, h("summary", "thinking"), h("pre", plain(heard.thinking))),
      heard.text && quote("answer", heard.text), heard.ended && empty(heard.ended), !heard.text && !heard.thinking && !heard.ended && empty("No word yet."));
  });
}
