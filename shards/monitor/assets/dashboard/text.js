// Numbers as an operator reads them, and small ways to put them on the page.

const STEPS = ["", "k", "M", "G", "T", "P"];

function scaled(value, base, units) {
  let step = 0;
  while (Math.abs(value) >= base && step < units.length - 1) {
    value /= base;
    step += 1;
  }
  const digits = step === 0 && Number.isInteger(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return [value.toFixed(digits), units[step]];
}

/** Short: 12.4 k. */
export function count(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value > 0 && value < 1) return value < 0.05 ? "< 0.1" : value.toFixed(1);
  if (value < 10_000) return Math.round(value).toLocaleString("en");
  const [number, unit] = scaled(value, 1000, STEPS);
  return `${number} ${unit}`;
}

/** In full: 12,431. */
export const whole = (value) => Math.round(value).toLocaleString("en");

export function bytes(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const [number, unit] = scaled(Math.round(value), 1000, ["B", "kB", "MB", "GB", "TB", "PB"]);
  return `${number} ${unit}`;
}

export const percent = (share) =>
  share === null || share === undefined ? "–" : `${Math.round(share * 100)} %`;

/** A short time: 12 µs. */
export function brief(ns) {
  if (!ns) return "–";
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(ns < 1e4 ? 1 : 0)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(ns < 1e7 ? 1 : 0)} ms`;
  return span(ns);
}

/** A long time: 3 d 4 h. */
export function span(ns) {
  const seconds = Math.max(0, Math.floor(ns / 1e9));
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  let rest = seconds;
  const words = [];
  for (const [size, unit] of parts) {
    const many = Math.floor(rest / size);
    rest -= many * size;
    if (many > 0 && words.length < 2) words.push(`${many} ${unit}`);
    else if (words.length > 0) break;
  }
  return words.join(" ") || "0 s";
}

export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

/** Changes text only if it differs, so that assistive technology isn't told again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** An element with attributes and children; strings become text. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  set(node, attributes);
  node.append(...children);
  return node;
}

export function set(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    const text = String(value);
    if (node.getAttribute(key) !== text) node.setAttribute(key, text);
  }
}

/** Makes a list of nodes as long as it must be; `make` makes one more. */
export function resize(parent, length, make) {
  while (parent.children.length > length) parent.lastElementChild.remove();
  while (parent.children.length < length) parent.append(make());
  return [...parent.children];
}

export const byId = (id) => document.getElementById(id);
