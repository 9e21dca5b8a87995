// What is served: a card for each generator, and before them what is wrong.

import { ago, byId, count, day, el, keepingFocus, moment, percent, say } from "./dom.js";
import * as rule from "./rule.js";
import { stands } from "./service.js";

const SEEN_BY = {
  classifier: "a classifier that tells served rows from fresh ones",
  kinds: "the shares of kinds of rows",
  alike: "rows that are more alike than they should be",
};
const CHANGE = /^(.*): ([\d.]+)% of the rows, certified ([\d.]+)%$/s;

let shown = "";
let known = new Set(); // alarms that were told of

// `again` brings the page up to date after a change.
export function showReleases(generators, me, again) {
  const alarmed = generators.flatMap((one) =>
    one.versions
      .filter((version) => !version.healthy)
      .map((version) => [`${one.name}@${version.version}`, version.alarm]),
  );
  announce(alarmed);
  const now = JSON.stringify([generators.map((one) => [one.name, one.aliases, one.versions.map(told)]), me.admin]);
  if (now !== shown) {
    shown = now;
    keepingFocus(() => {
      byId("alarms").replaceChildren(...alarmed.map(([name, alarm]) => alarmCard(name, alarm, me, again)));
      byId("generators").replaceChildren(...generators.map((one) => card(one, me, again)));
    });
  }
  for (const node of document.querySelectorAll("[data-since]")) {
    node.textContent = ago(Date.now() / 1000 - Number(node.dataset.since));
  }
}

const told = ({ version, release, signer, depth, healthy, alarm }) => [version, release, signer, depth, healthy, alarm];

function announce(alarmed) {
  const now = new Set(alarmed.map(([name, alarm]) => `${name} ${alarm.at}`));
  const fresh = alarmed.filter(([name, alarm]) => !known.has(`${name} ${alarm.at}`)).map(([name]) => name);
  if (fresh.length) say(`Alarm: ${fresh.join(", ")} no longer draws what was certified.`, { urgent: true });
  known = now;
}

function alarmCard(name, alarm, me, again) {
  const changes = alarm.changes.map((text) => CHANGE.exec(text) ?? [text, text, null, null]);
  const fewer = changes.filter(([, , share, certified]) => share === null || Number(share) < Number(certified));
  const more = changes.filter((one) => !fewer.includes(one));
  return el(
    "article",
    { class: "card alarm" },
    el(
      "div",
      { class: "head" },
      el("h3", {}, `▲ ${name} no longer draws what was certified`),
      el("span", {}, "since ", moment(alarm.at), " · ", el("span", { "data-since": alarm.at })),
    ),
    el(
      "p",
      {},
      `Seen by ${SEEN_BY[alarm.detector] ?? alarm.detector}, after ${count(alarm.rows)} rows were looked at.`,
    ),
    fewer.length ? missing("What went missing", fewer) : null,
    more.length ? missing("What comes more often", more) : null,
    changes.length
      ? null
      : el("p", { class: "soft" }, "No single kind of rows stands out: it is how they hang together."),
    me.admin
      ? button(`acknowledge-${name}`, "Acknowledge …", `Acknowledge the alarm of ${name}`, () =>
          rule.acknowledge(name, again),
        )
      : null,
  );
}

function missing(heading, changes) {
  const most = Math.max(
    ...changes.flatMap(([, , share, certified]) => [Number(share ?? 0), Number(certified ?? 0)]),
    1e-9,
  );
  return el(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": heading },
    el(
      "table",
      { class: "changes" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", { scope: "col" }, heading),
          el("th", { scope: "col" }, "Served of late"),
          el("th", { scope: "col" }, "Certified"),
        ),
      ),
      el(
        "tbody",
        {},
        changes.map(([, kind, share, certified]) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, kind),
            share === null
              ? el("td", { colspan: "2" })
              : [bar(share, most, "served"), bar(certified, most, "certified")],
          ),
        ),
      ),
    ),
  );
}

function bar(text, most, kind) {
  const filled = el("i", { class: kind });
  filled.style.width = `${(100 * Number(text)) / most}%`;
  return el("td", {}, el("span", { class: "meter", "aria-hidden": "true" }, filled), el("span", {}, `${text} %`));
}

const button = (id, text, label, act) =>
  el("button", { id, type: "button", "aria-label": label, on: { click: act } }, text);

function card(generator, me, again) {
  const sick = generator.versions.filter((one) => !one.healthy).length;
  return el(
    "article",
    { class: "card generator" },
    el(
      "div",
      { class: "head" },
      el("h3", {}, generator.name),
      sick
        ? el("span", { class: "worse-text" }, `▲ ${sick} of ${generator.versions.length} with an alarm`)
        : el("span", { class: "good" }, "● healthy"),
    ),
    el(
      "ul",
      { class: "aliases" },
      Object.entries(generator.aliases).map((one) => alias(generator, ...one, me, again)),
    ),
    me.admin
      ? button(`new-${generator.name}`, "New alias …", `New alias of ${generator.name}`, () =>
          rule.share(generator, null, again),
        )
      : null,
    versions(generator, me, again),
  );
}

function alias(generator, name, shares, me, again) {
  const whole = `${generator.name}:${name}`;
  const parts = Object.entries(shares).map(([version, part], i) => {
    const piece = el("i", { class: `part-${i % 4}`, title: `version ${version}: ${percent(part)}` });
    piece.style.flexGrow = part;
    return piece;
  });
  return el(
    "li",
    {},
    el("span", {}, el("code", {}, `:${name}`), " is ", stands(shares)),
    parts.length > 1 ? el("span", { class: "shares", "aria-hidden": "true" }, parts) : null,
    me.admin
      ? el(
          "span",
          { class: "buttons" },
          button(`share-${whole}`, "Change …", `Change ${whole}`, () => rule.share(generator, name, again)),
          button(`back-${whole}`, "Roll back …", `Roll ${whole} back`, () => rule.rollBack(generator, name, again)),
        )
      : null,
  );
}

function versions(generator, me, again) {
  const headings = ["Version", "Health", "Depth", "Real rows", "Made", "Signed by", "Release"];
  const label = `Versions of ${generator.name}`;
  return el(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": label },
    el(
      "table",
      { "aria-label": label },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          headings.map((text) => el("th", { scope: "col" }, text)),
          me.admin ? el("th", { scope: "col" }, el("span", { class: "unseen" }, "Change")) : null,
        ),
      ),
      el(
        "tbody",
        {},
        [...generator.versions].reverse().map((one) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, `@${one.version}`),
            el("td", {}, health(one)),
            el("td", { title: "1: learnt from real rows alone" }, String(one.depth)),
            el("td", {}, percent(one.real_fraction)),
            el("td", {}, el("span", {}, day(Date.parse(one.created) / 1000))),
            el("td", {}, signed(one.signer)),
            el("td", {}, el("code", { title: one.release }, one.release.slice(0, 12))),
            me.admin
              ? el(
                  "td",
                  {},
                  button(
                    `promote-${generator.name}@${one.version}`,
                    "Promote …",
                    `Promote ${generator.name}@${one.version}`,
                    () => rule.promote(generator, one.version, again),
                  ),
                )
              : null,
          ),
        ),
      ),
    ),
  );
}

// Whose key it is, as far as the service knows, and how to tell it from others.
function signed(text) {
  const [fingerprint = text] = /ed25519:[0-9a-f]{32}/.exec(text) ?? [];
  const whose = text.startsWith("your own key")
    ? "this service"
    : text.startsWith("an unknown key")
      ? "unknown"
      : text.split(" (")[0];
  return [
    el("span", { class: whose === "unknown" ? "worse-text" : null }, whose),
    " ",
    el("code", { class: "soft", title: fingerprint }, fingerprint.slice(8, 20)),
  ];
}

const health = (one) =>
  one.healthy
    ? el("span", { class: "good" }, "● healthy")
    : el("span", { class: "worse-text" }, "▲ alarm, ", el("span", { "data-since": one.alarm.at }));
