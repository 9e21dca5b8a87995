// The console: looks at the service every few seconds while it is seen, and has each part of the page show what it says.

import * as ask from "./ask.js";
import * as columns from "./columns.js";
import { byId, count, say, tell } from "./dom.js";
import * as draw from "./draw.js";
import * as keys from "./key.js";
import { showReleases } from "./releases.js";
import { get, path, Problem } from "./service.js";
import * as trends from "./trends.js";

const EVERY_MS = 5_000;

let timer = null;
let turn = 0; // so that of several looks under way only the last is followed by another

async function look() {
  clearTimeout(timer);
  if (document.hidden) return; // until it is seen again
  const mine = ++turn;
  try {
    const me = await get(path("me"));
    keys.accepted(me);
    const found = (await get(path("generators"))).generators;
    byId("console").hidden = byId("sections").hidden = false;
    tellHow(found);
    lost("");
    showReleases(found, me, look);
    trends.watch(found);
    await draw.offer(found, me);
  } catch (error) {
    if (!(error instanceof Problem)) throw error; // a mistake of this page
    failed(error);
    if (error.status === 401) return; // until there is a key
  }
  if (mine === turn) timer = setTimeout(look, EVERY_MS);
}

function failed(error) {
  if (error.status === 401) {
    byId("console").hidden = byId("sections").hidden = true;
    byId("lead").textContent = "Who draws here needs a key.";
    lost("");
    keys.wanted(error);
  } else {
    lost(`${error.message}. What is shown is what was known before; it is asked for again every few seconds.`);
  }
}

function lost(text) {
  if (byId("lost").textContent !== text) tell(byId("lost"), text);
}

function tellHow(found) {
  const versions = found.flatMap((one) => one.versions);
  const sick = versions.filter((one) => !one.healthy).length;
  const are = versions.length === 1 ? "release is" : "releases are";
  const health = sick
    ? `the monitor has raised an alarm for ${sick === 1 ? "one of them" : count(sick)}`
    : "all healthy";
  byId("lead").textContent = found.length
    ? `${count(versions.length)} ${are} served; ${versions.length === 1 && !sick ? "it is healthy" : health}.`
    : "This key reaches nothing that is served.";
  document.title = sick ? `▲ ${count(sick)} with an alarm · Artesian` : "Artesian";
}

ask.begin();
columns.begin();
draw.begin();
trends.begin();
keys.begin(() => {
  say("Looking at what the key reaches.");
  look();
});
document.addEventListener("visibilitychange", look);
look();
