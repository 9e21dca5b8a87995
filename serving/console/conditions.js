// Conditions on rows: a line of the form for each, made of the schema and, where there is one, the certificate.

import { clauses, OPERATIONS, operations } from "./clauses.js";
import { byId, choose, el, tell } from "./dom.js";
import { control } from "./values.js";

let columns = []; // of the schema, of those that something can be asked of
let reference = new Map();
let lines = [];
let made = 0;
let changed = () => {};

// `listen` is called when anything about the conditions has changed.
export function begin(listen) {
  changed = listen;
  byId("add").addEventListener("click", () => {
    lines.push(lineOf({ column: columns[0].name }));
    draw();
    byId(`${lines.at(-1).id}-column`).focus();
  });
}

// The columns that there are now. Lines about those that are still there stay.
export function offer(schema, certificate) {
  columns = schema.columns.filter(
    (column) => operations(column).length && !["id", "text", "image"].includes(column.kind),
  );
  reference = new Map(Object.entries(certificate?.reference ?? {}));
  lines = lines
    .map((one) => one.state())
    .filter((state) => columns.some((column) => column.name === state.column))
    .map(lineOf);
  byId("add").disabled = columns.length === 0;
  draw();
}

function draw() {
  byId("clauses").replaceChildren(...lines.map((one) => one.node));
  lines.forEach((one, i) => one.node.firstChild.setAttribute("aria-label", `Condition ${i + 1}`));
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

// Show what is wrong beside the line that it is about, or beside all of them; false where it is about none. `index` counts
// clauses; without it, what the text begins with tells.
export function mark(text, index = null) {
  const found = read().clauses;
  const begins = (part) =>
    ["", "'", '"'].some((q) => [":", " is no "].some((end) => text.startsWith(q + part + q + end)));
  const about = (one) => one.clauses().length > 0 && [...one.clauses(), one.clauses().join(" and ")].some(begins);
  const line = index === null ? lines.find(about) : found[index]?.line;
  if (line !== undefined) line.mark(text);
  else if (index !== null || found.some(({ text: clause }) => text.startsWith(`${clause} and `)))
    tell(byId("where-wrong"), text);
  else return false;
  return true;
}

function lineOf(state) {
  const id = `clause-${++made}`;
  const column = el("select", { id: `${id}-column`, "aria-label": "Column" });
  const operation = el("select", { id: `${id}-operation`, "aria-label": "Condition" });
  const place = el("span", { class: "given" });
  const wrong = el("p", { id: `${id}-wrong`, class: "wrong", hidden: true });
  const remove = el("button", { id: `${id}-remove`, type: "button", class: "slight", "aria-label": "Remove it" }, "×");
  const node = el("li", {}, el("div", { class: "line", role: "group" }, column, operation, place, remove), wrong);
  let value = null;

  const names = columns.map((one) => one.name);
  const here = () => columns.find((one) => one.name === column.value);
  const offerOperations = (wanted) => {
    const found = operations(here()).map((name) => [name, OPERATIONS[name][0]]);
    choose(operation, found, wanted);
  };
  const renew = (values) => {
    value = control(id, here(), reference.get(column.value) ?? null, operation.value, values);
    place.replaceChildren(...value.nodes);
    blame("");
  };
  const lacks = () => value.read().some((part) => part === null);
  const blame = (text) => {
    tell(wrong, text);
    for (const part of place.querySelectorAll("input, select")) {
      if (text) part.setAttribute("aria-invalid", "true");
      else part.removeAttribute("aria-invalid");
      part.setAttribute("aria-describedby", wrong.id);
    }
  };
  const one = {
    id,
    node,
    lacks,
    mark: blame,
    state: () => ({ column: column.value, operation: operation.value, values: value.read() }),
    clauses: () => (lacks() ? [] : clauses(column.value, names, operation.value, value.read())),
  };

  choose(
    column,
    names.map((name) => [name, name]),
    state.column,
  );
  offerOperations(state.operation);
  renew(state.values ?? []);
  column.addEventListener("change", () => {
    offerOperations(operation.value);
    renew([]);
    changed();
  });
  operation.addEventListener("change", () => {
    renew(value.read());
    changed();
  });
  place.addEventListener("input", changed);
  remove.addEventListener("click", () => {
    const at = lines.indexOf(one);
    lines.splice(at, 1);
    draw();
    (lines[at] ? byId(`${lines[at].id}-remove`) : byId("add")).focus();
  });
  return one;
}
