// foreman's own routes, asked from the page. Everything is relative, so that a prefix of a reverse proxy does no harm.

import { serverTime } from "./format.js";

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export async function ask(path, { method = "GET", body } = {}) {
  const headers = method === "GET" ? {} : { "X-Foreman-Page": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    credentials: "same-origin",
  });
  if (answer.headers.has("Date")) serverTime(answer.headers.get("Date"));
  return answer;
}

// JSON, or null for 204. Throws Refused with foreman's own words.
export async function get(path, how) {
  const answer = await ask(path, how);
  // /health says 503 while nothing is accepted, and tells all the same.
  if (!answer.ok && !(path === "health" && answer.status === 503)) throw await refused(answer);
  return answer.status === 204 ? null : answer.json();
}

export async function refused(answer) {
  let text = `${answer.status} ${answer.statusText}`;
  try {
    const told = await answer.json();
    text = told.detail ?? told.error?.message ?? told.error ?? text;
  } catch { /* no JSON: the status says it */ }
  return new Refused(answer.status, String(text));
}
