// Parts of the page. Whatever goes in is text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// An element with attributes (true: there, false or null: not there; `on`: listeners) and children, nodes or text.
export const el = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  made(document.createElementNS(SVG, tag), attributes, children);

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") Object.entries(value).forEach(([event, listen]) => node.addEventListener(event, listen));
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null));
  return node;
}

// The choices of a <select>: [value, text] pairs, or { group, choices }. What was chosen stays so while it is there.
export function choose(select, choices, wanted = select.value) {
  const options = (pairs) => pairs.map(([value, text]) => el("option", { value }, text));
  select.replaceChildren(
    ...choices.flatMap((one) =>
      one.group ? [el("optgroup", { label: one.group }, options(one.choices))] : options([one]),
    ),
  );
  if ([...select.options].some((option) => option.value === wanted)) select.value = wanted;
}

// Change a part of the page that the keyboard may be in: the focus stays on what has the same id afterwards.
export function keepingFocus(change) {
  const id = document.activeElement?.id;
  change();
  if (id && document.activeElement?.id !== id) byId(id)?.focus({ preventScroll: true });
}

// Show text in an element, or hide it where there is none.
export function tell(node, text) {
  node.textContent = text;
  node.hidden = !text;
}

// Say something to those who don't see it happen; what is urgent interrupts them.
export function say(text, { urgent = false } = {}) {
  byId(urgent ? "warned" : "said").textContent = text;
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const FEW = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });

export const count = (many) => WHOLE.format(many);
export const rows = (many) => `${count(many)} ${many === 1 ? "row" : "rows"}`;
export const day = (seconds) => DAY.format(seconds * 1000);
export const moment = (seconds) => MOMENT.format(seconds * 1000);

export function number(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(2);
  return size >= 1000 ? WHOLE.format(value) : FEW.format(value);
}

export function percent(share) {
  if (share === 0 || share >= 0.1) return `${(100 * share).toFixed(share === 0 || share === 1 ? 0 : 1)} %`;
  return share < 0.0001 ? "< 0.01 %" : `${(100 * share).toFixed(2)} %`;
}

export function bytes(size) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(3, Math.floor(Math.log10(Math.max(size, 1)) / 3));
  return `${(size / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

export function ago(seconds) {
  if (seconds < 60) return "just now";
  const [size, name] = seconds < 3600 ? [60, "minute"] : seconds < 86400 ? [3600, "hour"] : [86400, "day"];
  const whole = Math.floor(seconds / size);
  return `${whole} ${name}${whole === 1 ? "" : "s"} ago`;
}
