// Who is looking: where keys are asked for (`required`), one is handed over once and a cookie stands for it from then
// on, with its scopes.

import { ask, get, Refused, refused } from "./api.js";
import { h } from "./dom.js";

// `scopes` null: this foreman knows none.
export const session = { required: false, scopes: null, label: null };

// Whether there is somebody to show things to. A foreman that knows no sessions asks for none.
export async function known() {
  try {
    Object.assign(session, await get("ui/session"));
  } catch (error) {
    if (!(error instanceof Refused) || error.status === 401) throw error;
    Object.assign(session, { required: false, scopes: null, label: null });
  }
  return !session.required || session.scopes.length > 0;
}

// `pause`: the queue as a whole; `keys`: see who has one; `leave`: be somebody else.
export const may = () => ({
  pause: session.scopes === null || session.scopes.includes("admin") || session.scopes.includes("manage"),
  keys: Boolean(session.scopes?.includes("admin")),
  leave: session.required && session.scopes.length > 0,
});

// Throws Refused.
export async function enter(key) {
  const answer = await ask("ui/session", { method: "POST", body: { key } });
  if (!answer.ok) throw await refused(answer);
}

export const leave = () => ask("ui/session", { method: "DELETE" });

export function form() {
  return h("section.card.door", { "aria-labelledby": "door-head" }, h("h1", { id: "door-head" }, "A key, please"),
    h("p", "This foreman asks for a key. One with the scopes infer and read shows its own jobs; with admin, everybody's. Make one on its machine:"),
    h("p", h("code", "foreman keys create --scopes admin")),
    h("form", { id: "door" }, h("label", { for: "key" }, "Key"),
      h("input", { id: "key", type: "password", autocomplete: "current-password", spellcheck: "false", required: true, "data-own": "" }),
      h("button.solid", { type: "submit" }, "Sign in")),
    h("p.faint", "It is sent to this foreman only, and not kept in the browser; a cookie of this page stands for it."));
}
