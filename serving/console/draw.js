// The form: what to draw, the first rows of it to look at, and all of them as a file.

import { showColumns } from "./columns.js";
import * as conditions from "./conditions.js";
import { bytes, byId, choose, count, rows, say, tell } from "./dom.js";
import { received, save } from "./download.js";
import { showRows } from "./preview.js";
import { command, spelt } from "./request.js";
import { call, get, names, path, Problem, unbroken } from "./service.js";

const PREVIEW = 256; // rows
const FIELDS = ["n", "seed", "balance", "format"];

let details = null; // of what is drawn from: its schema and certificate
let stood = ""; // what the chosen name stood for when they were asked for
let last = null; // what was shown last, so that the file has the same rows
let showing = null;
let downloading = null;

export function begin() {
  conditions.begin(renew);
  byId("from").addEventListener("change", open);
  byId("draw-form").addEventListener("input", renew);
  byId("draw-form").addEventListener("submit", (event) => {
    event.preventDefault();
    show();
  });
  byId("download").addEventListener("click", download);
  byId("cancel").addEventListener("click", () => downloading?.abort());
  byId("copy").hidden = navigator.clipboard === undefined;
  byId("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId("command").textContent);
    say("Copied.");
  });
}

// What there is to draw from now.
export async function offer(generators, me) {
  const groups = generators.map((one) => ({
    group: one.name,
    choices: names(one, me).map(([name, says]) => [name, `${name}: ${says}`]),
  }));
  const now = JSON.stringify(groups);
  if (now === byId("from").dataset.offered) return;
  byId("from").dataset.offered = now;
  choose(
    byId("from"),
    groups.filter((group) => group.choices.length),
  );
  if (byId("from").selectedOptions[0]?.textContent !== stood) await open();
}

// Ask what the chosen name is like, and offer its columns.
async function open() {
  const option = byId("from").selectedOptions[0];
  byId("show").disabled = byId("download").disabled = option === undefined;
  if (option === undefined) {
    byId("from-hint").textContent = "This key reaches nothing that is served.";
    return;
  }
  stood = option.textContent;
  try {
    const found = await get(path("generators", option.value));
    if (byId("from").value !== option.value) return; // another was chosen meanwhile
    details = found;
  } catch (error) {
    wrong(error);
    return;
  }
  const { columns, target, constraints } = details.schema;
  const parts = [
    `${columns.length} columns`,
    target ? `target ${target}` : "",
    constraints.length ? held(constraints) : "",
  ];
  byId("from-hint").textContent = parts.filter((part) => part).join(" · ");
  conditions.offer(details.schema, details.certificate);
  const classes = columns
    .filter((column) => ["categorical", "boolean"].includes(column.kind))
    .map((column) => column.name);
  choose(byId("balance"), [["", "as they come"], ...classes.map((name) => [name, name])]);
  showColumns(details, null);
  renew();
}

const held = (constraints) => `${constraints.length} constraint${constraints.length === 1 ? "" : "s"} met by every row`;

// The form as it is: what is asked for, but for how many rows, of which seed and how they are spelt.
function question() {
  const where = conditions.read().clauses.map(({ text }) => text);
  return { where: where.length ? where : null, balance: byId("balance").value || null };
}

const typed = (id) =>
  byId(id)
    .value.trim()
    .replaceAll(/[\s,_]/g, "") || null;

// After any change of the form.
function renew() {
  byId("balance-hint").hidden = !byId("balance").value;
  const asked = { n: typed("n"), seed: typed("seed"), ...question(), format: byId("format").value };
  byId("command").textContent = command(byId("from").value, asked);
}

// Mark what is not filled in; whether there is nothing of it.
function complete() {
  unmark();
  if (typed("n") === null) mark("n", "how many rows?");
  const { lacking } = conditions.read();
  lacking.forEach((line) => line.mark("a value is missing: give one, or remove the condition"));
  return typed("n") !== null && !lacking.length ? true : (focusWrong(), false);
}

async function show() {
  if (!complete()) return;
  showing?.abort();
  const mine = (showing = new AbortController());
  const [name, asked] = [byId("from").value, question()];
  const most = Number(typed("n")) > PREVIEW ? String(PREVIEW) : typed("n");
  byId("preview").setAttribute("aria-busy", "true");
  try {
    const body = spelt({ n: most, seed: typed("seed"), ...asked, format: "ndjson" });
    const response = await call(path("generators", name, "samples"), { method: "POST", body, signal: mine.signal });
    const answer = {
      origin: origin(response),
      seed: response.headers.get("Artesian-Seed"),
      lines: await unbroken(response.text()),
    };
    last = { question: JSON.stringify([name, asked]), seed: answer.seed };
    const drawn = showRows(answer, details.schema, conditions.read().clauses, Number(typed("n")), keep);
    showColumns(await about(answer.origin.version), drawn);
  } catch (error) {
    wrong(error);
  } finally {
    if (showing === mine) byId("preview").removeAttribute("aria-busy");
  }
}

// The details of the version that has answered: of an alias the seed may have chosen another than was asked about.
async function about(version) {
  if (version === `${details.name}@${details.version}`) return details;
  try {
    return await get(path("generators", version));
  } catch (error) {
    if (error.status === 403) return details; // the key reaches it by its alias alone
    throw error;
  }
}

function keep(seed) {
  byId("seed").value = seed;
  byId("seed").focus();
  renew();
}

// Where the rows come from, as the answer's headers say.
function origin(response) {
  const text = response.headers.get("Artesian-Origin").replaceAll("-", "+").replaceAll("_", "/");
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(text), (one) => one.charCodeAt(0))));
}

async function download() {
  if (!complete()) return;
  const [name, asked, n, format] = [byId("from").value, question(), typed("n"), byId("format").value];
  const began = performance.now();
  const same = last !== null && last.question === JSON.stringify([name, asked]);
  const seed = typed("seed") ?? (same ? last.seed : null);
  downloading = new AbortController();
  under(true);
  byId("cancel").focus();
  try {
    const body = spelt({ n, seed, ...asked, format });
    const response = await call(path("generators", name, "samples"), {
      method: "POST",
      body,
      signal: downloading.signal,
    });
    const file = await received(response, format, (size, done) => progress(size, done, Number(n)));
    save(file);
    const seconds = Math.max(1, Math.round((performance.now() - began) / 1000));
    const drawn = response.headers.get("Artesian-Seed");
    finish(`${file.name}: ${rows(Number(n))}, ${bytes(file.size)}, in ${seconds} s, of seed ${drawn}.`);
  } catch (error) {
    if (error.name === "AbortError") finish("Cancelled; nothing was saved.");
    else {
      byId("progress").hidden = true;
      wrong(error);
    }
  } finally {
    downloading = null;
    under(false);
  }
}

function under(way) {
  byId("download").disabled = way;
  byId("cancel").hidden = !way;
  byId("progress-bar").hidden = !way;
  if (!way) {
    if (document.activeElement === document.body) byId("download").focus();
    return;
  }
  byId("progress").hidden = false;
  byId("progress-bar").removeAttribute("value"); // until it is known how far it is
  byId("progress-text").textContent = "Drawing …";
}

function progress(size, done, wanted) {
  byId("progress-text").textContent = done === null ? bytes(size) : `${count(done)} of ${rows(wanted)}, ${bytes(size)}`;
  if (done === null) return;
  byId("progress-bar").max = wanted;
  byId("progress-bar").value = Math.min(done, wanted);
}

function finish(text) {
  byId("progress-text").textContent = text;
  say(text);
}

function unmark() {
  FIELDS.forEach((id) => mark(id, ""));
  conditions.unmark();
  tell(byId("draw-wrong"), "");
}

function mark(id, text) {
  tell(byId(`${id}-wrong`), text);
  if (text) byId(id).setAttribute("aria-invalid", "true");
  else byId(id).removeAttribute("aria-invalid");
}

// Show a problem beside the fields that it names.
function wrong(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Problem)) throw error;
  for (const { field, text } of error.told) {
    const [, name, index] = (field ?? "").split("/");
    const place = index === undefined ? null : Number(index);
    if (FIELDS.includes(name)) mark(name, text);
    else if (!["where", undefined].includes(name) || !conditions.mark(text, place)) {
      tell(byId(name === "where" ? "where-wrong" : "draw-wrong"), text);
    }
  }
  focusWrong();
}

const focusWrong = () => byId("draw-form").querySelector("[aria-invalid]")?.focus();
