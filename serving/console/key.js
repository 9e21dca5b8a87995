// Whose key this is, what it may, and what is left of it. Without keys there is nothing to see.

import { byId, count, el, say, tell } from "./dom.js";
import { key, useKey } from "./service.js";

const TOKEN = /^[\x21-\x7e]+$/; // what a header can carry

// `changed` is called when there is another key, or none.
export function begin(changed) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const token = byId("token").value.trim();
    if (!TOKEN.test(token)) {
      refused("a key is letters, digits, - and _, as in art_…");
      return;
    }
    byId("token").value = "";
    useKey(token);
    changed();
  });
  byId("forget").addEventListener("click", () => {
    useKey(null);
    changed();
    say("The key is forgotten.");
  });
}

// The service wants a key; `problem` says what is wrong with the one that was sent.
export function wanted(problem) {
  const had = key() !== null;
  useKey(null);
  byId("key").hidden = byId("key-form").hidden = false;
  byId("mine").hidden = true;
  if (had) refused(problem.message);
}

function refused(text) {
  tell(byId("key-wrong"), text);
  byId("token").setAttribute("aria-invalid", "true");
  byId("token").focus();
  say(text, { urgent: true });
}

// What GET /v1/me says.
export function accepted(me) {
  byId("key").hidden = me.name === null;
  byId("key-form").hidden = true;
  byId("mine").hidden = false;
  tell(byId("key-wrong"), "");
  byId("token").removeAttribute("aria-invalid");
  if (me.name === null) return;
  byId("who").replaceChildren(
    el("b", {}, me.name),
    ...(me.admin ? [el("span", { class: "tag" }, "administrator")] : []),
  );
  const left = Object.entries(me.left).map(([kind, many]) => `${count(many)} ${kind}`);
  const reach = me.generators.includes("*") ? "every generator" : me.generators.join(", ");
  byId("rights").replaceChildren(
    el("div", {}, el("dt", {}, "Draws from"), el("dd", {}, reach)),
    el("div", {}, el("dt", {}, "Left of its quota now"), el("dd", {}, left.length ? left.join(", ") : "no limit")),
  );
}
