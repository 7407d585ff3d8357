// Asking before something is destroyed, and telling what became of an act.

import { h } from "./dom.js";

// Whether the user says yes.
export function confirmed({ title, text, yes }) {
  return new Promise((answer) => {
    const box = h("dialog", { "aria-labelledby": "ask-title", "aria-describedby": "ask-text" },
      h("h2", { id: "ask-title" }, title), h("p", { id: "ask-text" }, text),
      h("div.acts", h("button.quiet", { type: "button", value: "", autofocus: true }, "Keep it"), h("button.danger", { type: "button", value: "yes" }, yes)));
    box.addEventListener("click", (event) => {
      const pressed = event.target.closest("button");
      if (pressed) box.close(pressed.value);
      else if (event.target === box) box.close("");
    });
    box.addEventListener("close", () => { box.remove(); answer(box.returnValue === "yes"); });
    document.body.append(box);
    box.showModal();
  });
}

let last = "";

// Told to screen readers, politely, and not twice.
export function say(text) {
  if (text === last) return;
  last = text;
  document.getElementById("said").textContent = text;
}

export function toast(text, tone = "") {
  const note = h("p.toast", { role: tone === "bad" ? "alert" : "status", "data-tone": tone }, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), tone === "bad" ? 9000 : 4000);
}
