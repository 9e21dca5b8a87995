// The first rows of an answer, as a table.

import { byId, count, el, rows, say } from "./dom.js";

const PNG = /^[A-Za-z0-9+/]+=*$/;

// Shows them, and gives them back as objects. `clauses` are the conditions that they were drawn under, `wanted` is how many
// rows there are to be in all, `keep` is called with the seed where it is to be kept.
export function showRows({ origin, seed, lines }, schema, clauses, wanted, keep) {
  const texts = lines.split("\n").filter((line) => line);
  const found = texts.map((line) => JSON.parse(line));
  const spelt = texts.map((line) => JSON.parse(line, asSpelt));
  const columns = schema.columns.map((column) => column.name);
  const names = [...new Set([...columns, ...Object.keys(found[0])])].filter((name) => Object.hasOwn(found[0], name));
  const kinds = new Map(schema.columns.map((column) => [column.name, column.kind]));
  const asked = new Set(names.filter((name) => clauses.some(({ line }) => line.state().column === name)));
  const shown = found.length < wanted ? `The first ${count(found.length)} of ${rows(wanted)}` : rows(found.length);
  byId("preview-told").replaceChildren(
    el(
      "p",
      { id: "preview-caption" },
      el("b", {}, shown),
      ` of ${origin.version}, seed `,
      el("code", {}, seed),
      " ",
      el("button", { type: "button", id: "keep-seed", on: { click: () => keep(seed) } }, "Keep this seed"),
    ),
    el("p", { class: "soft" }, `Release ${origin.release.slice(0, 12)}, depth ${origin.depth}; signed by the service.`),
  );
  byId("preview-table").replaceChildren(
    el(
      "div",
      { class: "scroll tall", role: "region", tabindex: "0", "aria-labelledby": "preview-caption" },
      el(
        "table",
        { "aria-labelledby": "preview-caption" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            el("th", { scope: "col", class: "n" }, "row"),
            names.map((name) => el("th", { scope: "col", class: style(kinds.get(name), asked.has(name)) }, name)),
          ),
        ),
        el(
          "tbody",
          {},
          spelt.map((row, i) =>
            el(
              "tr",
              {},
              el("th", { scope: "row", class: "n" }, count(origin.first + i)),
              names.map((name) =>
                el("td", { class: style(kinds.get(name), asked.has(name)) }, cell(row[name], kinds.get(name), i)),
              ),
            ),
          ),
        ),
      ),
    ),
  );
  say(`${shown} of ${origin.version} shown.`);
  return { rows: found, origin };
}

// Numbers as they came: a double has fewer digits than some of them. Browsers that don't tell show what they made of it.
const asSpelt = (name, value, context) => (typeof value === "number" ? (context?.source ?? value) : value);

const style = (kind, asked) => `${kind === "numerical" || kind === undefined ? "n" : ""}${asked ? " asked" : ""}`;

function cell(value, kind, row) {
  if (value === null) return el("span", { class: "soft" }, "missing");
  if (kind !== "image" || !PNG.test(value)) return String(value);
  return el("img", { src: `data:image/png;base64,${value}`, alt: `image of row ${row}` });
}
