// Conditions on rows: a line of the form for each, made of the schema and, where there is one, the certificate.

import { clauses, OPERATIONS, operations } from "./clauses.js";
import { byId, choose, day, el, number, percent, tell } from "./dom.js";

const CHOICES = 60; // categories of a list; of more, one is typed and looked up

let columns = []; // of the schema, of those that something can be asked of
let reference = {};
let lines = [];
let made = 0;
let changed = () => {};

// `listen` is called when anything about the conditions has changed.
export function begin(listen) {
  changed = listen;
  byId("add").addEventListener("click", () => {
    lines.push(line({ column: columns[0].name }));
    draw();
    byId(`${lines.at(-1).id}-column`).focus();
  });
}

// The columns that there are now. Lines about those that are still there stay.
export function offer(schema, certificate) {
  columns = schema.columns.filter((column) => operations(column).length && !["id", "text", "image"].includes(column.kind));
  reference = certificate?.reference ?? {};
  lines = lines.map((one) => one.state()).filter((state) => columns.some((column) => column.name === state.column)).map(line);
  byId("add").disabled = columns.length === 0;
  draw();
}

function draw() {
  byId("clauses").replaceChildren(...lines.map((one) => one.node));
  byId("where-hint").hidden = lines.length < 2;
  changed();
}

// All clauses, and the lines that lack a value, which are marked.
export function read() {
  const found = lines.flatMap((one) => one.clauses().map((text) => ({ text, line: one })));
  const lacking = lines.filter((one) => one.lacks());
  return { clauses: found, lacking };
}

export function unmark() {
  lines.forEach((one) => one.mark(""));
  tell(byId("where-wrong"), "");
}

// Show what is wrong beside the line that it is about; false where it is about none of them. `index` counts clauses; what
// cannot be understood names the clause that it was in.
export function mark(text, index = null) {
  const found = read().clauses;
  const named = found.filter(({ text: clause }) => ["'", '"'].some((q) => text.startsWith(`${q}${clause}${q}`)));
  const one = index === null ? named[0] : found[index];
  if (one === undefined) return false;
  one.line.mark(text);
  return true;
}

function line(state) {
  const id = `clause-${++made}`;
  const column = el("select", { id: `${id}-column`, "aria-label": "Column" });
  const operation = el("select", { id: `${id}-operation`, "aria-label": "Condition" });
  const place = el("span", { class: "given" });
  const wrong = el("p", { id: `${id}-wrong`, class: "wrong", hidden: true });
  const remove = el("button", { id: `${id}-remove`, type: "button", class: "slight", "aria-label": "Remove this condition" }, "×");
  const node = el("li", {}, el("div", { class: "line" }, column, operation, place, remove), wrong);
  let value = null;

  const here = () => columns.find((one) => one.name === column.value);
  const renew = (values) => {
    value = control(id, here(), operation.value, values);
    place.replaceChildren(...value.nodes);
    one.mark("");
  };
  const offered = (wanted) =>
    choose(operation, operations(here()).map((name) => [name, OPERATIONS[name][0]]), wanted ?? operation.value);
  const one = {
    id, node,
    state: () => ({ column: column.value, operation: operation.value, values: value.read() }),
    lacks: () => value.read().some((part) => part === null),
    clauses: () => one.lacks()
      ? []
      : clauses(column.value, columns.map((c) => c.name), operation.value, value.read()),
    mark: (text) => {
      tell(wrong, text);
      for (const part of place.querySelectorAll("input, select")) {
        if (text) part.setAttribute("aria-invalid", "true");
        else part.removeAttribute("aria-invalid");
        part.setAttribute("aria-describedby", wrong.id);
      }
    },
    focus: () => (place.querySelector("input, select") ?? operation).focus(),
  };
  choose(column, columns.map((c) => [c.name, c.name]), state.column);
  offered(state.operation);
  renew(state.values ?? []);
  column.addEventListener("change", () => { offered(); renew([]); changed(); });
  operation.addEventListener("change", () => { renew(value.read()); changed(); });
  place.addEventListener("input", changed);
  remove.addEventListener("click", () => {
    const at = lines.indexOf(one);
    lines.splice(at, 1);
    draw();
    (lines[at] ? byId(`${lines[at].id}-remove`) : byId("add")).focus();
  });
  return one;
}

// What a value is chosen or typed with, and how it is read: null where there is none yet.
function control(id, column, operation, values) {
  if (operation === "missing" || operation === "known") return { nodes: [], read: () => [] };
  const labels = labelsOf(column);
  if (operation === "in" || operation === "not in") return labels === null ? typedSet(id, values) : boxes(labels, values);
  if (labels !== null && labels.length <= CHOICES) return list(id, labels, values);
  if (operation === "between") {
    const [low, high] = [input(id, column, values[0], "From", 0), input(`${id}-to`, column, values[1], "To", 100)];
    return { nodes: [low, el("span", {}, "and"), high], read: () => [typed(low), typed(high)] };
  }
  const one = input(id, column, values[0], "Value", null);
  const nodes = labels === null ? [one] : [one, suggestions(id, labels)];
  if (labels !== null) one.setAttribute("list", `${id}-list`);
  return { nodes, read: () => [typed(one)] };
}

// The categories that are known of, with their shares of real rows; null of numbers, dates, and without a certificate.
function labelsOf(column) {
  const share = (label) => reference[column.name]?.real?.[reference[column.name].labels.findIndex(
    (one) => one === label || (column.kind === "boolean" && one.toLowerCase() === label))];
  const labels = column.kind === "boolean" ? ["true", "false"] : reference[column.name]?.labels ?? null;
  return labels === null ? null : labels.map((label) => ({ label, share: share(label) }));
}

const shown = ({ label, share }) => (share === undefined ? label : `${label} (${percent(share)})`);
const typed = (node) => node.value.trim() || null;

function list(id, labels, values) {
  const select = el("select", { id: `${id}-value`, "aria-label": "Value" });
  choose(select, labels.map((one) => [one.label, shown(one)]), values[0] ?? labels[0]?.label);
  return { nodes: [select], read: () => [select.value] };
}

function boxes(labels, values) {
  const all = labels.map((one) => {
    const box = el("input", { type: "checkbox" });
    box.checked = values.includes(one.label);
    return [box, one];
  });
  const group = el("span", { class: "choices", role: "group", "aria-label": "Values" },
    all.map(([box, one]) => el("label", {}, box, " ", shown(one))));
  const chosen = () => all.filter(([box]) => box.checked).map(([, one]) => one.label);
  return { nodes: [group], read: () => (chosen().length ? chosen() : [null]) };
}

function typedSet(id, values) {
  const one = el("input", {
    id: `${id}-value`, "aria-label": "Values, between commas", placeholder: "A, B", autocomplete: "off",
    value: values.filter((value) => value !== null).join(", "),
  });
  const parts = () => one.value.split(",").map((part) => part.trim()).filter((part) => part);
  return { nodes: [one], read: () => (parts().length ? parts() : [null]) };
}

const suggestions = (id, labels) =>
  el("datalist", { id: `${id}-list` }, labels.map((one) => el("option", { value: one.label }, shown(one))));

// `end`: the quantile in per cent that stands as an example; null: both ends.
function input(id, column, value, label, end) {
  const real = reference[column.name]?.labels ? null : reference[column.name]?.real;
  const spell = column.kind === "datetime" ? day : number;
  const example = !real ? "" : end === null ? `${spell(real[0])} to ${spell(real.at(-1))}` : spell(real[end]);
  const date = column.kind === "datetime" ? "2024-05-31" : "";
  const plain = column.dtype.startsWith("date");
  return el("input", {
    id: `${id}-value`, "aria-label": label, autocomplete: "off", type: plain ? "date" : "text",
    inputmode: column.kind === "numerical" ? "decimal" : null, placeholder: date || example, value: value ?? "",
    title: example ? `real rows: ${spell(real[0])} to ${spell(real.at(-1))}` : null,
  });
}
