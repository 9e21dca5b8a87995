// What is asked for, as the body of a request and as a command for a shell.

import { key } from "./service.js";

const INTEGER = /^-?(0|[1-9]\d*)$/;

// JSON in which whole numbers are spelt as they were typed: a seed may have more digits than a number here keeps.
export function spelt(asked) {
  const members = Object.entries(asked).filter(([, value]) => value !== null);
  return `{${members.map(([name, value]) => `${JSON.stringify(name)}: ${json(name, value)}`).join(", ")}}`;
}

function json(name, value) {
  return (name === "n" || name === "seed") && INTEGER.test(value) ? value : JSON.stringify(value);
}

export function command(name, asked) {
  const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const where = new URL(`v1/generators/${name}/samples`, document.baseURI);
  const lines = [`curl -fS ${quote(where.href)}`, `-H ${quote("Content-Type: application/json")}`];
  if (key() !== null) lines.push('-H "Authorization: Bearer $ARTESIAN_KEY"');
  return [...lines, `-d ${quote(spelt(asked))}`, `-o ${name.split(/[@:]/)[0]}.${asked.format}`].join(" \\\n  ");
}
