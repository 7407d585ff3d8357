// Elements made from values, and put in the place of older ones without disturbing focus, scrolling or what is open.
// Text only ever becomes a text node: nothing that comes from outside is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

// h("div.row", {id: 1}, "text", h("b", "more")): an element. null, undefined and false are left out.
export function h(name, ...rest) {
  return build(document.createElement(name.split(".", 1)[0] || "div"), name, rest);
}

export function s(name, ...rest) {
  return build(document.createElementNS(SVG, name.split(".", 1)[0]), name, rest);
}

function build(element, name, rest) {
  const classes = name.split(".").slice(1);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const part of rest) add(element, part);
  return element;
}

function add(element, part) {
  if (part === null || part === undefined || part === false || part === true || part === "") return;
  if (Array.isArray(part)) part.forEach((one) => add(element, one));
  else if (part instanceof Node) element.append(part);
  else if (typeof part === "object") attributes(element, part);
  else element.append(document.createTextNode(String(part)));
}

function attributes(element, given) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "vars") for (const [key, one] of Object.entries(value)) element.style.setProperty(`--${key}`, one);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

// Make the children of `place` like `wanted`, keeping the elements that are the same (by data-key, else by kind).
export function show(place, ...wanted) {
  const made = document.createDocumentFragment();
  wanted.flat(9).forEach((part) => add(made, part));
  morphChildren(place, made);
}

function morphChildren(place, made) {
  const keyed = new Map();
  for (const child of place.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = place.firstChild;
  for (const next of [...made.childNodes]) {
    const key = next.dataset?.key;
    let old = key ? keyed.get(key) : at;
    if (!key && old?.dataset?.key) old = null;
    if (!old || !alike(old, next)) {
      place.insertBefore(next, at);
      continue;
    }
    if (old !== at) place.insertBefore(old, at);
    else at = at.nextSibling;
    morph(old, next);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function alike(old, next) {
  return old.nodeType === next.nodeType && old.nodeName === next.nodeName && old.dataset?.key === next.dataset?.key;
}

function morph(old, next) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  // What the reader has opened, typed or asked for stays as it is.
  if (old.dataset.own !== undefined) return;
  for (const { name } of [...old.attributes]) {
    if (name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...next.attributes]) {
    if (name !== "open" && old.getAttribute(name) !== value) {
      if (name === "style") old.style.cssText = next.style.cssText;
      else old.setAttribute(name, value);
    }
  }
  morphChildren(old, next);
}
