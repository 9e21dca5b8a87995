// What is asked of a column, as text that the service reads back as it was meant, whatever names and values hold.

const WORD = /^[A-Za-z_][\w.]*$/;
const SIMPLE = /^[\w.+-]+( [\w.+-]+)*$/;

// By their names: what they say, and what follows a column's name, a clause each, for these values.
export const OPERATIONS = {
  ">=": ["is at least", compared(">=")],
  "<=": ["is at most", compared("<=")],
  between: ["is between", ([low, high]) => [`>=${quoted(low)}`, `<=${quoted(high)}`]],
  ">": ["is more than", compared(">")],
  "<": ["is less than", compared("<")],
  "=": ["is", compared("=")],
  "!=": ["is not", compared("!=")],
  in: ["is one of", among("in")],
  "not in": ["is none of", among("not in")],
  missing: ["is missing", () => [" is missing"]],
  known: ["is not missing", () => [" is not missing"]],
};

const ORDERED = [">=", "<=", "between", ">", "<", "=", "!="];
const CLASSES = ["=", "!=", "in", "not in"];
const GAPS = ["missing", "known"];

// The operations that a column of the schema has.
export function operations(column) {
  const kinds = { numerical: ORDERED, datetime: ORDERED, categorical: CLASSES, boolean: ["="] };
  return [...(kinds[column.kind] ?? []), ...(column.nullable ? GAPS : [])];
}

// The clauses that say it of the column with this name, among all the names that there are.
export function clauses(name, names, operation, values) {
  return OPERATIONS[operation][1](values).map((rest) => spelt(name, names, rest) + rest);
}

// In quotes, unless it is a word and no longer name would be read in its place.
function spelt(name, names, rest) {
  if (WORD.test(name) && !names.some((other) => other.length > name.length && (name + rest).startsWith(other)))
    return name;
  const quote = ["'", '"'].find((one) => !name.includes(one));
  return quote === undefined ? name : quote + name + quote;
}

function compared(sign) {
  return ([value]) => [sign + quoted(value)];
}

function among(word) {
  const item = (value) => (SIMPLE.test(value) ? value : `"${value.replaceAll('"', '""')}"`); // as CSV has it
  return (values) => [` ${word} (${values.map(item).join(", ")})`];
}

// The outermost quotes are taken off again, and what is between them is taken as it is.
function quoted(value) {
  return SIMPLE.test(value) ? value : `"${value}"`;
}
