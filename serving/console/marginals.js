// How a column is distributed: of real rows, as was certified, and of the rows that were just drawn.

const BINS = 24;
const BARS = 8;

// What a chart shows: `labels` of bars or `edges` of bins, and of each of the three (null where it is not known) its shares,
// those of bins among present values, and its share of missing values.
export function marginal(column, certified, values) {
  const parts = { real: certified?.real ?? null, synthetic: certified?.synthetic ?? null, drawn: values };
  const missing = {
    real: certified?.missing_real ?? null,
    synthetic: certified?.missing_synthetic ?? null,
    drawn: values === null ? null : values.filter((value) => value === null).length / values.length,
  };
  const ordered = column.kind === "numerical" || column.kind === "datetime";
  return { missing, ordered, ...(ordered ? bins(column, parts) : bars(column, certified, parts, missing)) };
}

function bins(column, { real, synthetic, drawn }) {
  const present =
    drawn
      ?.filter((value) => value !== null)
      .map((value) => placed(column, value))
      .sort((a, b) => a - b) ?? null;
  const known =
    real ?? synthetic ?? (present?.length ? Array.from({ length: 101 }, (_, p) => quantile(present, p / 100)) : null);
  if (known === null) return { edges: null, shares: {}, middles: {} };
  const edges = edged(known[1], known[99], column.decimals === 0 && column.kind === "numerical");
  const shares = {
    real: real && ofQuantiles(real, edges),
    synthetic: synthetic && ofQuantiles(synthetic, edges),
    drawn: present?.length ? ofValues(present, edges) : null,
  };
  const middles = {
    real: real?.[50],
    synthetic: synthetic?.[50],
    drawn: present?.length ? quantile(present, 0.5) : undefined,
  };
  return { edges, shares, middles };
}

// A number, or the seconds of a moment since 1970, which is in UTC where it names no zone.
function placed(column, value) {
  if (column.kind === "numerical") return Number(value);
  const text = String(value).replace(" ", "T");
  const zoned = /([+-]\d\d:?\d\d|Z)$/.test(text) || !text.includes("T");
  return Date.parse(zoned ? text : `${text}Z`) / 1000;
}

const quantile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))];

// Edges from low to high; those of whole numbers lie between them, and bins are of whole width.
function edged(low, high, whole) {
  if (whole) {
    const [first, many] = [Math.floor(low), Math.ceil(high) - Math.floor(low) + 1];
    const width = Math.max(1, Math.ceil(many / BINS));
    return Array.from({ length: Math.ceil(many / width) + 1 }, (_, i) => first - 0.5 + i * width);
  }
  const top = high > low ? high : low + Math.max(1, Math.abs(low));
  return Array.from({ length: BINS + 1 }, (_, i) => low + ((top - low) * i) / BINS);
}

// The bins at the ends hold what lies beyond them.
function ofQuantiles(quantiles, edges) {
  const at = edges.map((edge, i) => (i === 0 ? 0 : i === edges.length - 1 ? 1 : below(quantiles, edge)));
  return at.slice(1).map((share, i) => share - at[i]);
}

// The share of the values below x, by quantiles at 0, 0.01, …, 1.
function below(quantiles, x) {
  const i = quantiles.findIndex((one) => one >= x);
  if (i <= 0) return i === 0 ? 0 : 1;
  return (i - 1 + (x - quantiles[i - 1]) / (quantiles[i] - quantiles[i - 1])) / (quantiles.length - 1);
}

function ofValues(values, edges) {
  const counts = new Array(edges.length - 1).fill(0);
  for (const value of values) {
    const i = edges.findIndex((edge, k) => k > 0 && value < edge);
    counts[i === -1 ? counts.length - 1 : i - 1] += 1;
  }
  return counts.map((many) => many / values.length);
}

// The commonest categories, what is left of them, and missing values.
function bars(column, certified, { real, synthetic, drawn }, missing) {
  const counted = drawn === null ? null : new Map();
  for (const value of drawn ?? []) {
    if (value !== null) counted.set(spelt(column, value), (counted.get(spelt(column, value)) ?? 0) + 1);
  }
  const known =
    certified?.labels ?? [...(counted?.entries() ?? [])].sort((a, b) => b[1] - a[1]).map(([label]) => label);
  const few = known.length > BARS + 1 ? known.slice(0, BARS) : known;
  const shares = {
    real: real && real.slice(0, few.length),
    synthetic: synthetic && synthetic.slice(0, few.length),
    drawn: counted && few.map((label) => (counted.get(spelt(column, label)) ?? 0) / drawn.length),
  };
  const labels = column.kind === "boolean" ? few.map((label) => spelt(column, label)) : [...few];
  const add = (label, value) => {
    const each = Object.entries(shares).map(([part, those]) => [part, those && Math.max(0, value(part, those))]);
    if (!each.some(([, share]) => share > 1e-6)) return;
    labels.push(label);
    each.forEach(([part, share]) => shares[part]?.push(share));
  };
  add("all others", (part, those) => 1 - those.reduce((a, b) => a + b, 0) - (missing[part] ?? 0));
  add("missing", (part) => missing[part]);
  return { labels, shares };
}

// A category by one spelling in the certificate and in rows.
function spelt(column, value) {
  if (column.kind === "boolean") return String(value).toLowerCase();
  const written = String(value);
  return column.dtype === "string" || !Number.isFinite(Number(written)) || !written.trim()
    ? written
    : String(Number(written));
}
