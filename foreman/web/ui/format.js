// Numbers, times and names as people read them.

const COUNT = new Intl.NumberFormat("en-US");
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  let value = bytes, unit = 0;
  while (Math.abs(value) >= 999.5 && unit < UNITS.length - 1) { value /= 1000; unit += 1; }
  return `${value.toFixed(unit && Math.abs(value) < 99.95 ? 1 : 0)}\u00a0${UNITS[unit]}`;
}

export function count(number) {
  return number === null || number === undefined ? "–" : COUNT.format(Math.round(number));
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// 0.42 s, 8.1 s, 1:05 min, 2 h 05, 3 d 4 h
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0.0995) return `${Math.max(0, Math.round(seconds * 1000))}\u00a0ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)}\u00a0s`;
  return clock(seconds);
}

// The same in whole seconds, for what counts up or down.
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}\u00a0s`;
  const [minutes, hours] = [Math.floor(whole / 60), Math.floor(whole / 3600)];
  if (minutes < 60) return `${minutes}:${two(whole % 60)}\u00a0min`;
  if (hours < 48) return `${hours}\u00a0h\u00a0${two(minutes % 60)}`;
  return `${Math.floor(hours / 24)}\u00a0d\u00a0${hours % 24} h`;
}

const two = (number) => String(number).padStart(2, "0");

export function time(moment) {
  if (!moment) return "–";
  const at = new Date(moment), today = new Date().toDateString() === at.toDateString();
  const hours = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return today ? hours : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${hours}`;
}

// The server's clock and this one may differ.
let ahead = 0;

export function serverTime(date) {
  const off = Date.parse(date) + 500 - Date.now();
  ahead = Math.abs(off) > 2000 ? off : 0;
}

export function since(moment) {
  return moment ? Math.max(0, (Date.now() + ahead - Date.parse(moment)) / 1000) : null;
}

export function until(moment) {
  return moment ? (Date.parse(moment) - Date.now() - ahead) / 1000 : null;
}

// Characters that would turn, hide or recolour the text around them are shown for what they are.
export function plain(text) {
  return String(text ?? "").replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\u{e0000}-\u{e007f}]/gu,
      (c) => `‹U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
}

export const line = (text) => plain(String(text ?? "").replace(/[\r\n\t]+/g, " "));

// "llama3:latest" is what people call llama3.
export const short = (model) => line(model).replace(/:latest$/, "");

const PATHS = {
  "/api/chat": "chat", "/api/generate": "generate", "/api/embed": "embed", "/api/embeddings": "embed",
  "/api/pull": "pull", "/api/create": "create", "/slots": "command", "/v1/chat/completions": "chat", "/v1/completions": "completion",
  "/v1/embeddings": "embed", "/v1/messages": "messages", "/v1/responses": "responses",
};
export const kind = (path) => PATHS[path] ?? line(path ?? "");

export const WHY = {
  loaded: "model is loaded", reload: "loads again", swap: "after a swap", pull: "a pull, when nothing else is left",
  command: "waits its turn", held: "held", delayed: "has its time", paused: "queue is paused",
  target_down: "target is down", slot: "waits for a free slot", local_lane: "waits for the local lane",
  remote_lane: "waits for the remote lane",
};

// Load options of a load key: "num_ctx=8192" and so on.
export function options(key) {
  const tail = String(key ?? "").split("?")[1];
  return tail ? tail.split("&").map((pair) => line(pair.replace("=", " "))) : [];
}
