// What an administrator may change: what an alias stands for, and that an alarm was looked into.

import { ask } from "./ask.js";
import { el } from "./dom.js";
import { path, send, stands } from "./service.js";

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

const paragraph = (...parts) => el("p", {}, ...parts);

// Have an alias stand for this version alone.
export function promote(generator, version, done) {
  const aliases = Object.keys(generator.aliases);
  const select = el(
    "select",
    { id: "ask-alias" },
    aliases.map((alias) => el("option", { value: alias }, alias)),
  );
  ask(
    {
      title: `Promote ${generator.name}@${version}`,
      form: [el("div", { class: "field" }, el("label", { for: "ask-alias" }, "Have this alias stand for it"), select)],
      read: () => assignment(generator, select.value, { [version]: 1 }),
    },
    done,
  );
}

// Have an alias stand for several versions; without `alias`, a new one.
export function share(generator, alias, done) {
  const now = alias === null ? {} : generator.aliases[alias];
  const inputs = generator.versions.map((one) => [
    one.version,
    el("input", {
      id: `ask-share-${one.version}`,
      inputmode: "decimal",
      autocomplete: "off",
      value: alias === null ? "" : +(100 * (now[one.version] ?? 0)).toFixed(4),
    }),
  ]);
  const name = el("input", { id: "ask-name", autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  const named = el("div", { class: "field" }, el("label", { for: "ask-name" }, "Name of the new alias"), name);
  ask(
    {
      title: alias === null ? `New alias of ${generator.name}` : `Change ${generator.name}:${alias}`,
      form: [
        ...(alias === null ? [named] : []),
        el(
          "fieldset",
          {},
          el("legend", {}, "Share of the requests, in per cent"),
          inputs.map(([version, input]) =>
            el("div", { class: "share" }, el("label", { for: input.id }, `version ${version}`), input),
          ),
        ),
      ],
      read: () => assignment(generator, checkedName(generator, alias, name.value.trim()), checkedShares(inputs)),
    },
    done,
  );
}

function checkedName(generator, alias, typed) {
  if (alias !== null) return alias;
  if (!NAME.test(typed)) throw new Error(`name ${JSON.stringify(typed)}: lower-case letters, digits, '.', '_' and '-'`);
  if (typed in generator.aliases) throw new Error(`name ${typed}: there is such an alias; change that one`);
  return typed;
}

function checkedShares(inputs) {
  const shares = {};
  for (const [version, input] of inputs) {
    const typed = input.value.trim().replace(",", ".");
    if (!/^(\d{1,3}(\.\d*)?|\.\d+)?$/.test(typed))
      throw new Error(`version ${version}: ${typed} is no share from 0 to 100`);
    if (Number(typed) > 0) shares[version] = Number(typed) / 100;
  }
  const sum = Object.values(shares).reduce((a, b) => a + b, 0);
  if (Math.abs(sum - 1) > 1e-6) throw new Error(`the shares sum to ${+(100 * sum).toFixed(4)} %, and should to 100 %`);
  return shares;
}

function assignment(generator, alias, shares) {
  const name = `${generator.name}:${alias}`;
  const before = generator.aliases[alias];
  if (before && stands(before) === stands(shares)) throw new Error(`${name} stands for ${stands(shares)} already`);
  const sick = generator.versions.filter((one) => one.version in shares && !one.healthy);
  return {
    title: `Change ${name}?`,
    body: [
      paragraph("From the next request on, ", el("b", {}, name), " stands for ", el("b", {}, stands(shares)), "."),
      paragraph(
        before ? `Now it stands for ${stands(before)}. Requests that are under way end as they began.` : "It is new.",
      ),
      ...sick.map((one) => el("p", { class: "wrong" }, `The monitor has raised an alarm for version ${one.version}.`)),
    ],
    yes: "Yes, change it",
    act: async () => {
      await send("PUT", path("generators", generator.name, "aliases", alias), { shares });
      return `${name} now stands for ${stands(shares)}.`;
    },
  };
}

// Have an alias stand for what it did before its last change.
export function rollBack(generator, alias, done) {
  const name = `${generator.name}:${alias}`;
  ask(
    {
      title: `Roll ${name} back?`,
      body: [
        paragraph(
          `It stands for ${stands(generator.aliases[alias])}, and will for what it did before its last change.`,
        ),
      ],
      yes: "Yes, roll it back",
      act: async () => {
        const told = await send("POST", path("generators", generator.name, "aliases", alias, "rollback"));
        return `${name} stands for ${stands(told.shares)} again.`;
      },
    },
    done,
  );
}

// Call a version healthy again.
export function acknowledge(name, done) {
  ask(
    {
      title: `Call ${name} healthy again?`,
      body: [
        paragraph(
          "Its alarm was looked into, and its rows may be served. It is watched anew from here on, so what is still ",
          "wrong raises another alarm.",
        ),
      ],
      yes: "Yes, acknowledge the alarm",
      act: async () => {
        await send("POST", path("generators", name, "acknowledge"));
        return `${name} is called healthy again.`;
      },
    },
    done,
  );
}
