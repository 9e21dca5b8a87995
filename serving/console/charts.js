// Small pictures, in the colours of the page. Each says in words what it shows.

import { el, percent, svg } from "./dom.js";

export const NAMES = { real: "real", synthetic: "certified", drawn: "these rows" };

const WIDTH = 300;
const HEIGHT = 128;
const FLOOR = HEIGHT - 18;
const TALL = 92;

const short = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
const words = (x, y, text, anchor = "start", kind = "soft") =>
  svg("text", { x, y, "text-anchor": anchor, class: kind }, text);

function picture(height, label, ...children) {
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label },
    svg("title", {}, label),
    children,
  );
}

// Bins of a number or a date: real rows filled, certified ones outlined, drawn ones as dots; filled where they are alone.
export function histogram(label, edges, shares, ends) {
  const every = Object.values(shares).filter((one) => one);
  const top = Math.max(...every.flat());
  const rooted = Math.max(...every[0]) > 0.5; // so that beside one tall bar the rest can be seen
  const y = (share) => FLOOR - TALL * (rooted ? Math.sqrt(share / top) : share / top);
  const step = (WIDTH - 8) / (edges.length - 1);
  const x = (i) => 4 + i * step;
  const width = step - (step > 4 ? 1 : 0);
  const filled = (kind) => (share, i) =>
    svg("rect", { class: kind, x: x(i), y: y(share), width, height: FLOOR - y(share) });
  const dot = (share, i) =>
    share > 0 ? svg("circle", { class: "drawn", cx: x(i + 0.5), cy: y(share), r: 2.6 }) : null;
  const outline = shares.synthetic?.map((share, i) => `V${y(share)}H${x(i + 1)}`).join("");
  return picture(
    HEIGHT,
    label,
    shares.real?.map(filled("real")) ?? null,
    outline === undefined ? null : svg("path", { class: "outline", d: `M4 ${FLOOR}${outline}V${FLOOR}` }),
    shares.drawn?.map(every.length === 1 ? filled("drawn") : dot) ?? null,
    svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: FLOOR, y2: FLOOR }),
    words(4, HEIGHT - 5, ends[0]),
    words(WIDTH - 4, HEIGHT - 5, ends[1], "end"),
    rooted ? words(WIDTH - 4, 10, "√ heights", "end") : null,
  );
}

// Bars of categories, of each what is known: real, certified, drawn. The last of them is written, too.
export function bars(label, labels, shares) {
  const every = Object.entries(shares).filter(([, one]) => one);
  const top = Math.max(...every.flatMap(([, one]) => one), 1e-9);
  const width = (share) => Math.max((150 * share) / top, share > 0 ? 1 : 0);
  const row = Math.max(15, 6 * every.length + 4);
  const groups = labels.map((name, i) => {
    const [middle, each] = [3 + (i + 0.5) * row, every.map(([, one]) => one[i])];
    const says = every.map(([part], k) => `${NAMES[part]} ${percent(each[k])}`).join(", ");
    const from = middle - 3 * every.length;
    return svg(
      "g",
      {},
      svg("title", {}, `${name}: ${says}`),
      words(104, middle + 3.5, short(name, 17), "end", ""),
      every.map(([part], k) => svg("rect", { class: part, x: 110, y: from + 6 * k, width: width(each[k]), height: 5 })),
      words(114 + width(Math.max(...each)), middle + 3.5, percent(each.at(-1))),
    );
  });
  return picture(6 + labels.length * row, label, groups);
}

// Ratios over time, [seconds, ratio] pairs; `band`: how far from 1 samples of the certified release are; `alarms`: when.
export function trend(label, points, span, band, alarms) {
  const [from, to] = span;
  const values = points.map(([, ratio]) => ratio);
  const reach = Math.max(0.08, 1.4 * band, ...values.map((ratio) => 1.15 * Math.abs(ratio - 1)));
  const x = (time) => 4 + ((WIDTH - 8) * (time - from)) / (to - from);
  const y = (ratio) => 52 - (44 * (ratio - 1)) / reach;
  const path = points
    .map(([time, ratio], i) => `${i ? "L" : "M"}${x(time).toFixed(1)} ${y(ratio).toFixed(1)}`)
    .join("");
  const minutes = Math.max(1, Math.round((to - from) / 60));
  return picture(
    120,
    label,
    svg("rect", { class: "band", x: 4, width: WIDTH - 8, y: y(1 + band), height: y(1 - band) - y(1 + band) }),
    svg("line", { class: "one", x1: 4, x2: WIDTH - 4, y1: y(1), y2: y(1) }),
    alarms
      .filter((time) => time >= from)
      .map((time) =>
        svg(
          "g",
          { class: "alarmed" },
          svg("title", {}, "alarm"),
          svg("line", { x1: x(time), x2: x(time), y1: 10, y2: 100 }),
          svg("path", { d: `M${x(time)} 1l5 9h-10z` }),
        ),
      ),
    svg("path", { class: "line", d: path }),
    points.length ? svg("circle", { class: "dot", cx: x(points.at(-1)[0]), cy: y(points.at(-1)[1]), r: 4 }) : null,
    words(4, 8, `+${percent(reach)}`),
    words(4, 102, `−${percent(reach)}`),
    words(4, 116, minutes === 1 ? "a minute ago" : `${minutes} minutes ago`),
    words(WIDTH - 4, 116, "now", "end"),
  );
}

// What colours and marks mean: [class, text] pairs.
export const legend = (entries) =>
  entries.map(([kind, text]) => el("span", {}, el("i", { class: `swatch ${kind}` }), text));
