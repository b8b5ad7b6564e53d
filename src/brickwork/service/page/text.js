// Elements, numbers for people, and the words of a query in a text.
// What comes from documents or the server becomes text nodes only; nothing is ever read as HTML.

const EXCERPT = 240;
const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const COMMON = new Set(("a an and are as at be by can do does for from how i in into is it its my not of on or that the "
  + "this to was what when where which who why will with you your").split(" "));

export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) element.setAttribute(key, value);
  element.append(...children.filter((child) => child != null));
  return element;
}

// ---- numbers for people

export const clamp = (value, top) => Math.max(0, Math.min(top, value));
export const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
export const count = (number) => number.toLocaleString("en");
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
export const milliseconds = (value) => (value < 1000 ? `${three.format(value)} ms` : `${three.format(value / 1000)} s`);
export function scaled(value, unit) {
  let step = 0;
  for (; value >= 999.5 && step < 5; step += 1) value /= 1000;
  return `${three.format(value)} ${["", "k", "M", "G", "T", "P"][step]}${unit}`.trim();
}

// ---- words of the query in a text

/** The query's words without their endings, so that “parsing” marks “parse”; short words count only as they are. */
export function stemsOf(query) {
  const words = [...new Set(query.toLowerCase().match(WORD) ?? [])];
  const telling = words.filter((word) => word.length > 1 && !COMMON.has(word));
  return (telling.length ? telling : words)
    .map((word) => word.replace(/(?<=.{4})(ing|ed|s)$/u, "").replace(/(?<=.{4})e$/u, ""));
}

function stemIn(word, stems) {
  const low = word.toLowerCase();
  return stems.find((stem) => (stem.length < 4 ? low === stem : low.startsWith(stem)));
}

export function marked(text, stems) {
  const nodes = [];
  let done = 0;
  for (const match of text.matchAll(WORD)) {
    if (stemIn(match[0], stems) === undefined) continue;
    nodes.push(text.slice(done, match.index), el("mark", {}, match[0]));
    done = match.index + match[0].length;
  }
  return [...nodes, text.slice(done)];
}

/** A name that may break after its dots, slashes and underscores before it breaks anywhere else. */
export function breakable(nodes) {
  return nodes.flatMap((node) => (typeof node !== "string" ? node
    : node.split(/(?<=[._/:])/).flatMap((part) => [part, /[._/:]$/.test(part) ? el("wbr") : ""])));
}

/** The part of a text that holds the most different words of the query. */
export function excerpt(text, stems) {
  const flat = text.replace(/\s+/g, " ").trim();
  const found = [];
  for (const match of flat.matchAll(WORD)) {
    const stem = stemIn(match[0], stems);
    if (stem !== undefined) found.push({ at: match.index, stem });
    if (found.length === 200) break;
  }
  let start = 0, most = 0;
  for (const { at } of found) {
    const near = found.filter((other) => other.at >= at && other.at < at + EXCERPT - 60);
    const different = new Set(near.map((other) => other.stem)).size;
    if (different > most) [start, most] = [at, different];
  }
  start = start < 60 ? 0 : flat.indexOf(" ", start - 50) + 1;
  let end = start + EXCERPT < flat.length ? flat.lastIndexOf(" ", start + EXCERPT) : flat.length;
  if (end <= start) end = start + EXCERPT;
  return [start > 0 ? "… " : "", ...marked(flat.slice(start, end), stems), end < flat.length ? " …" : ""];
}
