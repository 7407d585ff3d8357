// The words in a request and in an answer, whichever API they were written for. All of it is somebody else's text:
// what comes from here is only ever put into text nodes.

const PART = 400_000;

// The text of one message of an answer: {text, thinking}.
export function pieceOf(value) {
  if (!value || typeof value !== "object") return {};
  const delta = value.choices?.[0]?.delta ?? value.choices?.[0]?.message ?? value.message ?? value.delta ?? {};
  if (value.error) return { text: `[error] ${value.error.message ?? value.error}` };
  if (typeof value.delta === "string") return value.type?.includes("reasoning") ? { thinking: value.delta } : { text: value.delta };
  const made = value.embeddings ?? (value.embedding && [value.embedding]) ?? value.data?.map?.((one) => one.embedding);
  if (Array.isArray(made)) return { text: `[${made.length} × ${made[0]?.length ?? 0} numbers]` };
  if (typeof value.status === "string" && !value.type && !value.output) return { text: `${value.status}${value.total ? ` ${Math.round((100 * (value.completed ?? 0)) / value.total)} %` : ""}\n` };
  const calls = delta.tool_calls?.length ? `\n[tool call] ${JSON.stringify(delta.tool_calls)}\n` : "";
  const text = flat(delta.content ?? delta.text ?? value.response ?? value.choices?.[0]?.text ?? value.content ?? value.text ?? value.output);
  return { text: text + calls, thinking: flat(delta.thinking ?? delta.reasoning ?? delta.reasoning_content ?? value.thinking) };
}

// Content that may be a text, or a list of parts.
export function flat(content) {
  if (content === null || content === undefined) return "";
  if (typeof content === "string") return content;
  if (Array.isArray(content)) return content.map((part) => (part?.type?.includes("image") ? "[image]" : flat(part?.text ?? part?.content ?? part?.thinking ?? part))).join("");
  return typeof content === "object" ? JSON.stringify(content) : String(content);
}

// Reads a body piece by piece; `take({text, thinking})` gets what each message says.
export async function listen(answer, take, signal) {
  const type = answer.headers.get("Content-Type") ?? "", lines = /ndjson|event-stream/.test(type);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  signal.addEventListener("abort", () => reader.cancel().catch(() => {}));
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    if (lines) {
      const whole = rest.split("\n");
      rest = done ? "" : whole.pop();
      whole.forEach((one) => take(message(one)));
    }
    if (done || rest.length > PART) break;
  }
  if (!lines) take(whole(rest.slice(0, PART)));
}

function message(text) {
  const found = text.startsWith("data:") ? text.slice(5).trim() : text.trim();
  if (!found.startsWith("{")) return {};
  try { return pieceOf(JSON.parse(found)); } catch { return {}; }
}

function whole(text) {
  try { return pieceOf(JSON.parse(text)); } catch { return { text }; }
}

// A request as a list of {role, text}.
export function spoken(body) {
  const said = [];
  if (body.system) said.push({ role: "system", text: flat(body.system) });
  if (body.instructions) said.push({ role: "system", text: flat(body.instructions) });
  const list = body.messages ?? (Array.isArray(body.input) && body.input.some((one) => one?.role) ? body.input : null);
  if (list) for (const one of list) said.push({ role: String(one?.role ?? "?"), text: flat(one?.content) + pictures(one?.images) });
  else if (body.prompt ?? body.input) said.push({ role: "prompt", text: [body.prompt ?? body.input].flat().map(flat).join("\n") + pictures(body.images) });
  const known = new Set(["system", "instructions", "messages", "input", "prompt", "images"]);
  const other = Object.entries(body).filter(([name]) => !known.has(name));
  return { said, other };
}

const pictures = (images) => (images?.length ? `\n[${images.length} image${images.length > 1 ? "s" : ""}]` : "");
