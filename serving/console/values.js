// What the value of a condition is chosen or typed with.

import { choose, day, el, number, percent } from "./dom.js";

const CHOICES = 60; // categories of a list; of more, one is typed and looked up

// Its nodes, and how the values are read, null for each that is not there yet. `certified` is the column's reference in the
// certificate, null where there is none; `values` are those to begin with.
export function control(id, column, certified, operation, values) {
  if (operation === "missing" || operation === "known") return { nodes: [], read: () => [] };
  const labels = labelsOf(column, certified);
  const several = operation === "in" || operation === "not in";
  if (several) return labels === null ? typedSet(id, values) : boxes(labels, values);
  if (labels !== null && labels.length <= CHOICES) return list(id, labels, values);
  const example = labels === null ? (certified?.real ?? null) : null;
  if (operation === "between") {
    const low = input(id, column, values[0], "From", example, [0]);
    const high = input(`${id}-to`, column, values[1], "To", example, [100]);
    return { nodes: [low, el("span", {}, "and"), high], read: () => [typed(low), typed(high)] };
  }
  const one = input(id, column, values[0], "Value", example, [0, 100]);
  if (labels !== null) one.setAttribute("list", `${id}-list`);
  return { nodes: labels === null ? [one] : [one, suggestions(id, labels)], read: () => [typed(one)] };
}

// The categories that are known of, with their shares of real rows; null of numbers, dates, and without a certificate.
function labelsOf(column, certified) {
  const known = certified?.labels?.map((label, i) => ({ label, share: certified.real?.[i] })) ?? null;
  if (column.kind !== "boolean") return known;
  const share = (label) => known?.find((one) => one.label.toLowerCase() === label)?.share;
  return ["true", "false"].map((label) => ({ label, share: share(label) }));
}

const shown = ({ label, share }) => (share === undefined ? label : `${label} (${percent(share)})`);
const typed = (node) => node.value.trim() || null;

function list(id, labels, values) {
  const select = el("select", { id: `${id}-value`, "aria-label": "Value" });
  choose(
    select,
    labels.map((one) => [one.label, shown(one)]),
    values[0] ?? labels[0]?.label,
  );
  return { nodes: [select], read: () => [select.value] };
}

function boxes(labels, values) {
  const all = labels.map((one) => {
    const box = el("input", { type: "checkbox" });
    box.checked = values.includes(one.label);
    return [box, one];
  });
  const group = el(
    "span",
    { class: "choices", role: "group", "aria-label": "Values" },
    all.map(([box, one]) => el("label", {}, box, " ", shown(one))),
  );
  const chosen = () => all.filter(([box]) => box.checked).map(([, one]) => one.label);
  return { nodes: [group], read: () => (chosen().length ? chosen() : [null]) };
}

function typedSet(id, values) {
  const one = el("input", {
    id: `${id}-value`,
    "aria-label": "Values, between commas",
    placeholder: "A, B",
    autocomplete: "off",
    value: values.filter((value) => value !== null).join(", "),
  });
  const parts = () =>
    one.value
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part);
  return { nodes: [one], read: () => (parts().length ? parts() : [null]) };
}

const suggestions = (id, labels) =>
  el(
    "datalist",
    { id: `${id}-list` },
    labels.map((one) => el("option", { value: one.label }, shown(one))),
  );

// `quantiles` of real rows, those of which in per cent stand as an example.
function input(id, column, value, label, quantiles, shownAt) {
  const spell = column.kind === "datetime" ? day : number;
  const example = quantiles === null ? "" : shownAt.map((at) => spell(quantiles[at])).join(" to ");
  return el("input", {
    id: `${id}-value`,
    "aria-label": label,
    autocomplete: "off",
    type: column.kind === "datetime" && column.dtype.startsWith("date") ? "date" : "text",
    inputmode: column.kind === "numerical" ? "decimal" : null,
    placeholder: column.kind === "datetime" ? "2024-05-31" : example,
    value: value ?? "",
    title: quantiles === null ? null : `real rows: ${spell(quantiles[0])} to ${spell(quantiles.at(-1))}`,
  });
}
