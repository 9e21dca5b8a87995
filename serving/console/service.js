// The service's interface, as any other caller has it. The key is kept in this tab's session storage and sent as a header.

const PLACE = "artesian-key";

export const key = () => sessionStorage.getItem(PLACE);

export function useKey(token) {
  if (token === null) sessionStorage.removeItem(PLACE);
  else sessionStorage.setItem(PLACE, token);
}

// An answer that is a problem (RFC 9457): what is wrong, what to do, and the fields of the request that it is about.
export class Problem extends Error {
  constructor(status, { detail, remedy = null, field = null, errors = [] }) {
    super(remedy === null ? detail : `${detail}; ${remedy}`);
    this.status = status;
    const each = errors.length ? errors.filter((error) => error.in === "body") : [{ field, detail, remedy }];
    // Of each the field as a JSON pointer, null where it is about none, and what to say there.
    this.told = each.map((one) => ({
      field: one.field || null,
      text: one.remedy ? `${one.detail}; ${one.remedy}` : one.detail,
    }));
    if (!this.told.length) this.told = [{ field: null, text: this.message }];
  }
}

// The response to a request. Throws Problem for one that is none, or that did not come; AbortError once `signal` says so.
export async function call(path, { method = "GET", body = null, signal = null } = {}) {
  const headers = {};
  if (key() !== null) headers.Authorization = `Bearer ${key()}`;
  if (body !== null) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, {
      detail: "the service does not answer",
      remedy: "see that it runs and can be reached, and try again",
    });
  }
  if (response.ok) return response;
  const kind = response.headers.get("Content-Type") ?? "";
  if (kind.startsWith("application/problem+json")) throw new Problem(response.status, await response.json());
  throw new Problem(response.status, {
    detail: `something between this page and the service answered ${response.status}`,
  });
}

// What is read of an answer, which breaks off where the connection is lost. Throws Problem then.
export async function unbroken(reading) {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Problem(0, {
      detail: "the answer broke off",
      remedy: "try again: with the same seed come the same rows",
    });
  }
}

export const get = async (path) => (await call(path)).json();

export const send = async (method, path, body = null) =>
  (await call(path, { method, body: body === null ? null : JSON.stringify(body) })).json();

export const path = (...steps) => ["v1", ...steps.map(encodeURIComponent)].join("/");

// Whether a key reaches a version or an alias: what it lists with neither by all of its names, and what it lists with one by
// that alone.
function may(me, name) {
  const whole = name.split(/[@:]/)[0];
  return me.generators.some((one) => one === "*" || one === whole || one === name);
}

// The names of what can be drawn of a generator: [name, what it says], aliases first.
export function names(generator, me) {
  const aliases = Object.entries(generator.aliases).map(([alias, shares]) => [
    `${generator.name}:${alias}`,
    stands(shares),
  ]);
  const versions = generator.versions.map((one) => [`${generator.name}@${one.version}`, `version ${one.version}`]);
  return [...aliases, ...versions.reverse()].filter(([name]) => may(me, name));
}

// What an alias stands for, as in "version 3 (90 %), version 4 (10 %)".
export function stands(shares) {
  const parts = Object.entries(shares);
  if (parts.length === 1) return `version ${parts[0][0]}`;
  return parts.map(([version, share]) => `version ${version} (${+(100 * share).toFixed(2)} %)`).join(", ");
}
