// How an answer is drawn: the readout of its cost, the results, and what moved against full size.

import { thumbnail } from "./thumbnails.js";
import { othersOf, passageOf } from "./passages.js";
import { breakable, clamp, count, el, excerpt, marked, milliseconds, plural, scaled, stemsOf, three } from "./text.js";

const $ = (id) => document.getElementById(id);
const opened = new Set();   // ids of results that are open; they stay so while sliders move

/** Draws the answer `small` to `query`, and beside it `full`, the answer at full size: where `comparing`, a null one is
 *  on its way. `whole` gives the dimensions and layers of full size; `ask` gets a path of the server. */
export function draw({ small, full, query, comparing, whole, ask }) {
  readout(small, full, comparing, whole);
  const before = positions(), focused = document.activeElement?.closest?.("article");
  const stems = stemsOf(query);
  const columns = [column("small", isFull(small, whole) ? NAMES[small.mode] : "Chosen size", small, comparing ? full : null, stems, ask)];
  if (comparing) columns.push(column("full", "Full size", full, small, stems, ask));
  $("results").replaceChildren(...columns);
  $("results").classList.toggle("two", comparing);
  $("sides").hidden = !comparing;
  $("legend").hidden = !comparing;
  $("sides").children[0].textContent = sizeOf(small);
  $("sides").children[1].textContent = "Full size";
  // The elements are new; whoever walks through the results by keyboard stays on the same document.
  if (focused) articles().find((one) => placeOf(one) === placeOf(focused))?.querySelector("button").focus({ preventScroll: true });
  glide(before);
}

const NAMES = { hybrid: "Full size", dense: "Full size", lexical: "By words" };
const byWords = (answer) => answer.mode === "lexical";
const isFull = (answer, whole) => byWords(answer) || (answer.dim === whole.dim && answer.layers === whole.layers);
const sizeOf = (answer) => (byWords(answer) ? "BM25" : `${plural(answer.dim, "dim")} · ${plural(answer.layers, "layer")}`);

function column(side, name, answer, other, stems, ask) {
  const heading = el("h2", { class: "sidehead" }, el("b", {}, name));
  const section = el("section", { class: "side", "data-side": side }, heading);
  if (!answer) return section.append(skeleton()), section;
  heading.append(el("span", { class: "muted" }, sizeOf(answer)),
    el("span", { class: "ms" }, milliseconds(answer.milliseconds.encode + answer.milliseconds.scan + answer.milliseconds.rerank)));
  const places = other && new Map(other.results[0].map((hit, rank) => [hit.id, rank]));
  section.append(el("ol", {}, ...answer.results[0].map((hit, rank) => item(hit, rank, side, places, stems, answer, ask))));
  return section;
}

const ABOUT = { hybrid: "both scores in standard units, added", dense: "cosine with the query", lexical: "BM25" };

function item(hit, rank, side, places, stems, { mode, reranked, results: [[best]] }, ask) {
  const title = el("button", { type: "button", class: "hit", "aria-expanded": opened.has(hit.id) },
    ...breakable(marked(hit.title || hit.id, stems)));
  const bar = el("i", { class: "bar" });
  bar.style.setProperty("--fill", `${100 * clamp(mode === "dense" && !reranked ? hit.score : hit.score / best.score || 0, 1)}%`);
  const article = el("article", { "data-id": hit.id, "data-side": side, class: places?.has(hit.id) ? "common" : null },
    thumbnail(hit),
    el("h3", {}, el("span", { class: "rank" }, String(rank + 1)), title, places && moved(hit, rank, side, places)),
    el("span", { class: "score", title: reranked ? "of the reranker" : ABOUT[mode] }, hit.score.toFixed(3), bar),
    hit.source ? el("p", { class: "source" }, /^https?:\/\//.test(hit.source)
      ? el("a", { href: hit.source, rel: "noopener noreferrer" }, hit.source) : el("span", {}, ...breakable([hit.source]))) : null,
    parts(hit, mode),
    el("p", { class: "snippet" }, ...excerpt(hit.text, stems)), othersOf(hit, stems));
  const open = () => {
    const meta = Object.entries({ id: hit.id, ...hit.meta }).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, ...breakable([typeof value === "object" ? JSON.stringify(value) : String(value)]))));
    article.insertBefore(el("div", { class: "whole" }, passageOf(hit, stems, ask), el("dl", {}, ...meta)), article.querySelector(".others"));
  };
  if (opened.has(hit.id)) open();
  title.addEventListener("click", () => {
    const expand = title.getAttribute("aria-expanded") !== "true";
    title.setAttribute("aria-expanded", expand);
    opened[expand ? "add" : "delete"](hit.id);
    if (expand) open(); else article.querySelector(".whole").remove();
  });
  return el("li", {}, article);
}

/** What made up the score: of a hybrid search both sides, of a reranked one the score before. */
function parts(hit, mode) {
  const said = [hit.first_score != null && `before reranking ${hit.first_score.toFixed(3)}`,
    mode === "hybrid" && `meaning ${hit.dense.toFixed(3)} · words ${hit.lexical.toFixed(2)}`].filter(Boolean);
  return said.length ? el("p", { class: "parts" }, said.join(" · ")) : null;
}

/** How a document stands against the other column: only the chosen size moves things, full size says what it lost. */
function moved(hit, rank, side, places) {
  const there = places.get(hit.id);
  const mark = (kind, text, about) => el("span", { class: `moved ${kind}`, title: about },
    el("span", { "aria-hidden": "true" }, text), el("span", { class: "hidden" }, about));
  if (there === undefined) return side === "small"
    ? mark("in", "in", `not among the first ${places.size} at full size`)
    : mark("out", "out", `not among the first ${places.size} at the chosen size`);
  const up = there - rank;
  if (side === "full" || up === 0) return null;
  return mark(up > 0 ? "up" : "down", `${up > 0 ? "▲" : "▼"} ${Math.abs(up)}`,
    `${plural(Math.abs(up), "place")} ${up > 0 ? "higher" : "lower"} than at full size`);
}

function readout(small, full, comparing, whole) {
  const hits = small.results[0].length;
  const cut = [small.dim < whole.dim && `${count(small.dim)} of ${count(whole.dim)} dimensions`,
    small.layers < whole.layers && `${small.layers} of ${plural(whole.layers, "layer")}`].filter(Boolean).join(" and ");
  const uncut = isFull(small, whole);
  const fixed = $("dim").disabled && $("layers").disabled;   // a model of one size has nothing to compare
  const sentence = [byWords(small) ? `${plural(hits, "document")} by their words: BM25, no vectors.` : uncut ? `Full size: all ${count(small.dim)} dimensions, all ${plural(small.layers, "layer")}.${fixed ? "" : " Move a slider to see what less would find."}`
    : `Cut to ${cut}, the search `];
  let spoken = `${plural(hits, "result")}.`;
  if (comparing && full) {
    const ids = new Set(full.results[0].map((hit) => hit.id));
    const kept = small.results[0].filter((hit) => ids.has(hit.id)).length;
    sentence.push("finds ", el("b", { id: "overlap" }, `${kept} of the ${ids.size}`), " documents of full size.");
    spoken += ` ${kept} of the ${ids.size} documents of full size.`;
  } else if (!uncut) sentence.push(comparing ? "is being compared with full size …" : `finds ${plural(hits, "document")}.`);
  $("sentence").replaceChildren(...sentence);
  if (!comparing || full) $("live").textContent = spoken;   // once for each search, not again when the comparison comes

  const per = full && !uncut ? full : null;
  $("facts").replaceChildren(
    fact("Encode the query", milliseconds, small.milliseconds.encode, per?.milliseconds.encode),
    fact("Scan the index", milliseconds, small.milliseconds.scan, per?.milliseconds.scan),
    small.reranked ? fact("Rerank", milliseconds, small.milliseconds.rerank, per?.milliseconds.rerank) : "",
    fact("FLOPs of the scan", (value) => scaled(value, ""), small.cost.flops, per?.cost.flops),
    fact("Bytes scanned", (value) => scaled(value, "B"), small.cost.bytes_scanned, per?.cost.bytes_scanned));
  const steps = small.stages.map(([dim, keep], at) => (at ? `again on ${count(dim)} dimensions, best ${count(keep)}`
    : `${small.kind}: ${plural(small.documents, "document")} on ${count(dim)} dimensions, best ${count(keep)}`));
  if (small.mode === "hybrid") steps.push("with the best by their words, both scores added");
  if (small.reranked) steps.push(`the best ${count(small.reranked)} read again by the reranker`);
  $("how").replaceChildren(steps.join(" → "), ...small.notes.map((note) => el("span", { class: "callout" }, note)));
  $("readout").hidden = false;
}

function fact(name, units, value, whole) {
  const box = el("div", {}, el("dt", {}, name), el("dd", {}, units(value)));
  if (whole === undefined) return box;
  const times = whole / value, factor = Math.max(times, 1 / times), same = !Number.isFinite(times) || Math.abs(times - 1) < 0.05;
  const bar = el("i", { class: "bar" });
  bar.style.setProperty("--fill", `${100 * clamp(value / whole || 0, 1)}%`);
  box.append(el("dd", { class: "against" }, bar, same ? "as at full size"
    : `${factor < 10 ? factor.toFixed(1) : three.format(factor)}× ${times > 1 ? "less" : "more"} than ${units(whole)}`));
  return box;
}

export const skeleton = () => el("div", { class: "skeleton", role: "presentation" }, ...Array.from({ length: 5 }, () => el("i")));
export const articles = () => [...document.querySelectorAll("article")];
const placeOf = (one) => `${one.dataset.side} ${one.dataset.id}`;
const positions = () => new Map(articles().map((one) => [placeOf(one), one.getBoundingClientRect().top]));

/** Lets documents that changed places glide there, so that the eye can follow; those who asked for calm get none. */
function glide(before) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const one of articles()) {
    const from = before.get(placeOf(one));
    const way = from === undefined ? 0 : from - one.getBoundingClientRect().top;
    if (from === undefined && before.size) one.animate([{ opacity: 0 }, { opacity: 1 }], 200);
    else if (way) one.animate([{ transform: `translateY(${way}px)` }, { transform: "none" }], { duration: 220, easing: "ease-out" });
  }
}
