// An answer on its way into a file: it is read as it comes, so that one sees how far it is and can stop it.

import { el } from "./dom.js";
import { unbroken } from "./service.js";

const NEWLINE = 10;
const HEADS = { csv: 1, json: 1, ndjson: 0 }; // lines that are no rows; other formats have no lines

// The answer's file, when all of it is there; Problem where it breaks off. `progress` is called with the bytes and rows so
// far, null where rows cannot be seen.
export async function received(response, format, progress) {
  const parts = [];
  let size = 0;
  let lines = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await unbroken(reader.read());
    if (done) break;
    parts.push(value);
    size += value.length;
    if (format in HEADS) lines += counted(value);
    progress(size, format in HEADS ? Math.max(0, lines - HEADS[format]) : null);
  }
  return { blob: new Blob(parts, { type: response.headers.get("Content-Type") }), name: named(response), size };
}

function counted(part) {
  let lines = 0;
  for (let at = part.indexOf(NEWLINE); at >= 0; at = part.indexOf(NEWLINE, at + 1)) lines += 1;
  return lines;
}

const named = (response) =>
  /filename="([^"/\\]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "rows";

export function save({ blob, name }) {
  const href = URL.createObjectURL(blob);
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // the browser may not have begun yet
}
