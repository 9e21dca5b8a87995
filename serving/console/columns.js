// Each column's distribution: of the rows just drawn, beside what was certified and what is real.

import { bars, histogram, legend, NAMES } from "./charts.js";
import { byId, count, day, el, number, percent } from "./dom.js";
import { marginal } from "./marginals.js";

const MOST = 24; // that are shown at once
const KINDS = ["numerical", "datetime", "categorical", "boolean"];

let rest = [];

// Once, when the page begins.
export function begin() {
  byId("columns-more").addEventListener("click", () => {
    byId("columns-charts").append(...rest.map((make) => make()));
    byId("columns-more").hidden = true;
  });
}

// `drawn`: the rows of a preview and their origin, null before there are any.
export function showColumns(details, drawn) {
  const reference = details.certificate?.reference ?? {};
  const version = `${details.name}@${details.version}`;
  const columns = details.schema.columns.filter(
    (one) => KINDS.includes(one.kind) && (Object.hasOwn(reference, one.name) || drawn !== null),
  );
  byId("columns-lead").textContent = lead(version, details, drawn);
  const entries =
    details.certificate === null
      ? []
      : [
          ["real", "real rows"],
          ["synthetic", "as certified"],
        ];
  if (drawn !== null) entries.push(["drawn", `the ${count(drawn.rows.length)} rows shown above`]);
  byId("columns-legend").replaceChildren(...legend(entries));
  const cards = columns.map(
    (column) => () => card(column, Object.hasOwn(reference, column.name) ? reference[column.name] : null, drawn),
  );
  byId("columns-charts").replaceChildren(...cards.slice(0, MOST).map((make) => make()));
  rest = cards.slice(MOST);
  byId("columns-more").hidden = rest.length === 0;
  byId("columns-more").textContent = `Show the other ${count(rest.length)} columns`;
}

function lead(version, { certificate }, drawn) {
  if (certificate === null) {
    const then = drawn === null ? " Show rows to see how they are distributed." : "";
    return `${version} was published without a certificate, so there is nothing to compare with.${then}`;
  }
  if (drawn === null) return `What was certified of ${version}, beside the real rows that it learnt from.`;
  const asked = Object.keys(drawn.origin.asked ?? { unknown: true }).length > 0;
  const how = asked ? ", and may well differ: they were asked for" : "";
  return `What was certified of ${version}, beside the real rows that it learnt from. The rows above are here, too${how}.`;
}

function card(column, certified, drawn) {
  const values = drawn === null ? null : drawn.rows.map((row) => row[column.name] ?? null);
  const found = marginal(column, certified, values);
  return el(
    "article",
    { class: "card" },
    el("div", { class: "head" }, el("h3", {}, column.name), el("span", { class: "soft" }, column.kind)),
    found.ordered ? ordered(column, found) : categories(column, found),
    remark(found),
  );
}

function ordered(column, { edges, shares, middles }) {
  if (edges === null) return el("p", {}, "no value in any row");
  const spell = column.kind === "datetime" ? day : number;
  const half = column.decimals === 0 && column.kind === "numerical" ? 0.5 : 0;
  const told = Object.entries(middles).filter(([, middle]) => middle !== undefined);
  const below = told.map(([part, middle]) => `${spell(middle)} (${NAMES[part]})`).join(", ");
  return histogram(`${column.name}: half of the values lie below ${below}`, edges, shares, [
    spell(edges[0] + half),
    spell(edges.at(-1) - half),
  ]);
}

function categories(column, { labels, shares }) {
  const parts = Object.entries(shares).filter(([, known]) => known);
  const each = (i) => parts.map(([part, known]) => `${percent(known[i])} (${NAMES[part]})`).join(", ");
  const told = labels.slice(0, 5).map((label, i) => `${label} ${each(i)}`);
  return bars(`${column.name}: ${told.join("; ")}`, labels, shares);
}

function remark(found) {
  const told = Object.entries(found.missing).filter(([, share]) => share !== null);
  if (!found.ordered || !told.some(([, share]) => share > 0)) return null;
  return el("p", {}, `missing: ${told.map(([part, share]) => `${NAMES[part]} ${percent(share)}`).join(", ")}`);
}
