// The dialog in which a change is asked once more before it is done.

import { byId, say, tell } from "./dom.js";
import { Problem } from "./service.js";

let step = null; // what the main button does
let opener = null;

// `form`, where there is one, is first filled in: `read` makes of it what is to be done, or throws Error with what is wrong.
// What is to be done has a `title`, a `body` of nodes, `yes`, the text of the button, and `act`, which does it and says what
// was done; then `done` is called.
export function ask(plan, done) {
  opener = document.activeElement?.id;
  if (plan.read) {
    show(plan.title, plan.form, "Go on …", () => confirm(plan.read(), done));
  } else {
    confirm(plan, done);
  }
  byId("ask").showModal();
  (byId("ask-body").querySelector("input, select") ?? byId("ask-no")).focus(); // and not on what changes something
}

function confirm(plan, done) {
  show(plan.title, plan.body, plan.yes, async () => {
    byId("ask-yes").disabled = true;
    try {
      const told = await plan.act();
      byId("ask").close();
      say(told);
      await done();
    } finally {
      byId("ask-yes").disabled = false;
    }
  });
  byId("ask-no").focus();
}

function show(title, body, yes, act) {
  byId("ask-title").textContent = title;
  byId("ask-body").replaceChildren(...body);
  byId("ask-yes").textContent = yes;
  tell(byId("ask-wrong"), "");
  step = act;
}

// Once, when the page begins.
export function begin() {
  byId("ask-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await step();
    } catch (error) {
      if (!(error instanceof Problem) && error.constructor !== Error) throw error; // a mistake of this page
      tell(byId("ask-wrong"), error.message);
    }
  });
  byId("ask-no").addEventListener("click", () => byId("ask").close());
  // The browser gives the focus back to the button that opened it, which may have been made anew meanwhile.
  byId("ask").addEventListener("close", () => {
    if (opener && document.activeElement === document.body) byId(opener)?.focus();
  });
}
