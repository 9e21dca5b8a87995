// How diverse what was served is, as far back as this page has looked, an hour at most.

import { legend, trend } from "./charts.js";
import { byId, choose, el, number, tell } from "./dom.js";

const HOUR = 3600;
const LEAST = 300; // seconds that a picture spans
const FIGURES = {
  coverage: ["Coverage", "cells of similar rows that were seen, of those to be expected"],
  rare_recall: ["Rare categories", "seen, of those to be expected"],
  modes: ["Modes", "how many there are, by Rényi kernel entropy"],
  vendi: ["Vendi score", "how many rows that have nothing in common it is like"],
  entropy: ["Entropy", "of the columns, the mean, in nats"],
  distinct: ["Distinct rows", "that no earlier one equals"],
  extremes: ["Extremes", "numbers beyond the outermost 1 % of either end"],
  valid: ["Valid rows", "that satisfy the schema and its constraints"],
};

const kept = new Map(); // by version and figure: [seconds, ratio]
const alarms = new Map(); // by version: when
let latest = [];

// Once, when the page begins.
export function begin() {
  byId("watched").addEventListener("change", show);
  byId("trends-legend").replaceChildren(
    ...legend([
      ["line", "served, as a multiple of the baseline"],
      ["band", "where samples of the certified release lie"],
      ["alarmed", "alarm"],
    ]),
  );
}

// Take in what the service says now.
export function watch(generators, now = Date.now() / 1000) {
  latest = generators.flatMap((one) => one.versions.map((version) => [`${one.name}@${version.version}`, version]));
  for (const [name, version] of latest) {
    for (const [figure, { ratio }] of Object.entries(version.trends)) add(`${name} ${figure}`, now, ratio);
    if (version.alarm !== null) alarms.set(name, (alarms.get(name) ?? new Set()).add(version.alarm.at));
  }
  const choices = latest.map(([name, version]) => [name, version.healthy ? name : `${name} ▲ alarm`]);
  if (JSON.stringify(choices) !== byId("watched").dataset.offered) {
    byId("watched").dataset.offered = JSON.stringify(choices);
    // At first the one that there is something to see of.
    choose(byId("watched"), choices, byId("watched").value || latest.find(([, version]) => !version.healthy)?.[0]);
  }
  show(now);
}

function add(name, now, ratio) {
  const points = (kept.get(name) ?? []).filter(([time]) => time >= now - HOUR);
  points.push([now, ratio]);
  kept.set(name, points);
}

function show(now) {
  const time = typeof now === "number" ? now : Date.now() / 1000;
  const name = byId("watched").value;
  const figures = Object.entries(latest.find(([one]) => one === name)?.[1].trends ?? {});
  tell(
    byId("trends-none"),
    figures.length ? "" : "No figures yet: they need some 500 rows that were served without conditions.",
  );
  byId("trends-legend").hidden = figures.length === 0;
  byId("trends").replaceChildren(...figures.map(([figure, found]) => card(name, figure, found, time)));
}

function card(name, figure, { value, baseline, deviation, ratio }, now) {
  const [title, meaning] = FIGURES[figure] ?? [figure, ""];
  const points = kept.get(`${name} ${figure}`);
  const band = baseline ? (2 * deviation) / Math.abs(baseline) : 0;
  const off = Math.abs(ratio - 1) > Math.max(band, 1e-9);
  const label = `${title}: ${number(ratio)} times the baseline now, ${off ? "outside of" : "within"} what is usual`;
  return el(
    "article",
    { class: "card" },
    el(
      "div",
      { class: "head" },
      el("h3", {}, title),
      el("span", { class: "soft" }, `${number(value)}, baseline ${number(baseline)}`),
    ),
    el(
      "div",
      { class: "value" },
      ratio.toFixed(3),
      el("small", {}, " × baseline"),
      off ? el("small", { class: "worse-text" }, " · unusual") : null,
    ),
    trend(label, points, [Math.max(now - HOUR, Math.min(points[0][0], now - LEAST)), now], band, [
      ...(alarms.get(name) ?? []),
    ]),
    meaning ? el("p", {}, meaning) : null,
  );
}
