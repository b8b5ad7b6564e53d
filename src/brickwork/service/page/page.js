// The search page: asks /v1/search while one types or moves a slider, and sets the answer beside that of full size.

import { articles, draw, skeleton } from "./answer.js";
import { offerImage } from "./image.js";
import { count, el, plural } from "./text.js";

const TOP = 10;
const TYPING_MS = 220, SLIDING_MS = 60;

const $ = (id) => document.getElementById(id);
const last = (list) => list[list.length - 1];

const asked = { query: "", dim: 0, layers: 0, where: "", compare: true, image: null, mode: "dense", group: false, rerank: false };
let model = null;                            // the entry of /v1/models
let depths = [];                             // the layers after which this index can be searched
let current = null;                          // the AbortController of the search under way
let timer = 0;
let settled = false;                         // whether the address is one to come back to
let reference = { key: "", answer: null };   // the last answer at full size: moving a slider need not ask for it again


// ---- what the browser keeps: the theme for good, the key for this tab (both only where storage is allowed)

function stored(store, name, value) {
  try {
    if (value !== undefined) window[store].setItem(name, value);
    return window[store].getItem(name);
  } catch {
    return null;
  }
}

const root = document.documentElement;
root.style.colorScheme = stored("localStorage", "brickwork-theme") ?? "";
$("theme").addEventListener("click", () => {
  const dark = root.style.colorScheme === "dark"
    || (root.style.colorScheme === "" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.style.colorScheme = dark ? "light" : "dark";
  stored("localStorage", "brickwork-theme", root.style.colorScheme);
});

// ---- the server

class Refused extends Error {
  constructor(status, message, seconds = 0) {
    super(message);
    Object.assign(this, { status, seconds });
  }
}

async function ask(path, body, signal) {
  const key = stored("sessionStorage", "brickwork-key");
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch {
    throw new Refused(0, "The connection failed. Look whether “brickwork serve” still runs, then try again.");
  }
  const content = await response.json().catch(() => null);
  if (response.ok && content) return content;
  const message = content?.error?.message ?? `It answered with status ${response.status}.`;
  throw new Refused(response.status, message, Number(response.headers.get("Retry-After")));
}

const find = (dim, layers, signal) => ask("v1/search",
  { ...(asked.query.trim() && { query: asked.query }), ...(asked.image && { image: asked.image.data }), top: TOP,
    ...(asked.mode !== model.modes[0] && { mode: asked.mode }), ...(byVectors() && { dim, layers }), ...(asked.group && { group_by: "source" }), ...(asked.rerank && { rerank: true }), ...(asked.where.trim() && { where: asked.where }) }, signal);
/** Whether vectors are compared: only words have no size. */
const byVectors = () => asked.mode !== "lexical";
const isFull = () => !byVectors() || (asked.dim === last(model.dims) && asked.layers === last(depths));

/** Where two sizes are compared, each is asked twice and the shorter times count: the first search after a pause pays
 *  for waking the processor, and whichever size came first would look slow. */
async function again(answer, signal) {
  if (answer.reranked) return answer;   // which takes so long that the first search after a pause makes no difference
  const { encode, scan } = (await find(answer.dim, answer.layers, signal)).milliseconds;
  const first = answer.milliseconds;
  answer.milliseconds = { ...first, encode: Math.min(encode, first.encode), scan: Math.min(scan, first.scan) };
  return answer;
}

/** Searches at the chosen size, then at full size. One after the other: side by side they would share the processor,
 *  and the times would be those of neither. Whatever a newer search overtakes is dropped, here and by the server. */
async function search() {
  clearTimeout(timer);
  current?.abort();
  const mine = (current = new AbortController());
  if (!asked.query.trim() && !asked.image) return welcome();
  const results = $("results");
  results.setAttribute("aria-busy", true);
  if (!results.childElementCount) {
    $("message").hidden = true;
    results.replaceChildren(el("section", { class: "side" }, skeleton()));
  }
  try {
    const key = JSON.stringify([asked.query, asked.mode, asked.where, asked.image?.data, asked.group, asked.rerank]);
    const small = await find(asked.dim, asked.layers, mine.signal);
    if (mine !== current) return;
    const known = reference.key === key && reference.answer.documents === small.documents;
    let full = isFull() ? small : known ? reference.answer : null;
    show(small, full);
    if (asked.compare && !isFull() && small.results[0].length) {
      full ??= await again(await find(last(model.dims), last(depths), mine.signal), mine.signal);
      await again(small, mine.signal);
      if (mine !== current) return;
      show(small, full);
    }
    if (full) reference = { key, answer: full };
    results.setAttribute("aria-busy", false);
  } catch (error) {
    if (mine === current) fail(error, search);
  }
}

function later(wait) {
  keepInAddress();
  $("results").setAttribute("aria-busy", true);
  clearTimeout(timer);
  timer = setTimeout(search, wait);
}

function show(small, full) {
  if (!small.results[0].length) return say("Nothing found", asked.where.trim() ? `No document fits “${asked.where}”.`
    : byVectors() ? "The index holds no documents." : "No document has a word of the query. Search by meaning as well.");
  $("message").hidden = true;
  $("where").removeAttribute("aria-invalid");
  $("who").textContent = `${small.model} · ${plural(small.documents, "document")}`;
  draw({ small, full, query: asked.query, comparing: asked.compare && !isFull(), whole: { dim: last(model.dims), layers: last(depths) }, ask });
}

// ---- messages: nothing asked yet, nothing found, refused, gone, no index

function say(heading, text, action, onAction) {
  const button = action && el("button", { type: "button", class: "main" }, action);
  button?.addEventListener("click", onAction);
  $("message").replaceChildren(el("h2", {}, heading), ...[text].flat().filter(Boolean).map((part) =>
    (part instanceof Node ? part : el("p", { class: "muted" }, part))), button ?? "");
  $("message").hidden = false;
  $("live").textContent = heading;
  for (const id of ["readout", "sides", "legend"]) $(id).hidden = true;
  $("results").replaceChildren();
  $("results").setAttribute("aria-busy", false);
}

function welcome() {
  say(model.documents ? `${plural(model.documents, "document")}, ready to search` : "This index is empty",
    model.documents
      ? `${model.image_shape ? "Type what is to be seen, or give an image" : "Type a question"}${sized() ? ", then drag the sliders: the results, what they cost and what changes against full size follow at once." : "."}`
      : el("pre", {}, "brickwork index MODEL DATA --out FOLDER --update"));
}

function fail(error, again) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401) return askForKey(again);
  const wrongFilter = error.status === 400 && asked.where.trim() !== "" && /filter|field/i.test(error.message);
  $("where").setAttribute("aria-invalid", wrongFilter);
  if (error.status === 429) {
    const seconds = Math.max(1, error.seconds || 1);
    timer = setTimeout(again, 1000 * seconds);
    return say("The server is busy", `Trying again in ${plural(seconds, "second")}.`);
  }
  if (wrongFilter) return say("This filter does not work", error.message, "Remove it", () => {
    asked.where = $("where").value = "";
    later(0);
  });
  if (error.status >= 400 && error.status < 500) return say("The server cannot answer this", error.message);
  say(error.status === 0 ? "The server does not answer" : "The server failed", error.message, "Try again", again);
}

function askForKey(again) {
  if (stored("sessionStorage", "brickwork-key")) $("key-why").textContent = "The server did not take this key. Try another.";
  $("key").value = $("ask-key").returnValue = "";
  $("ask-key").onclose = () => {
    if ($("ask-key").returnValue !== "use") return say("This server wants an API key", "", "Enter a key", () => askForKey(again));
    stored("sessionStorage", "brickwork-key", $("key").value);
    again();
  };
  $("ask-key").showModal();
}

// ---- controls and the address, which holds all of them: a link shows what its sender saw

function slider(id, values, noun) {
  const range = $(id);
  range.max = values.length - 1;
  range.closest("label").hidden = values.length === 1;  // there is nothing to choose
  const every = Math.ceil(values.length / 8);
  range.nextElementSibling.replaceChildren(...values.map((value, at) =>
    el("span", {}, (values.length - 1 - at) % every ? "" : String(value))));
  range.addEventListener("input", () => {
    asked[id] = values[range.value];
    setSliders();
    later(SLIDING_MS);
  });
  return () => {
    range.value = values.indexOf(asked[id]);
    range.disabled = values.length === 1 || !byVectors();
    const text = `${count(asked[id])} of ${plural(last(values), noun)}`;
    range.setAttribute("aria-valuetext", text);
    $(`${id}-value`).textContent = `${count(asked[id])} of ${count(last(values))}`;
    [...range.nextElementSibling.children].forEach((tick, at) => tick.classList.toggle("here", at === Number(range.value)));
  };
}
/** Whether there is a size to choose, and so anything to compare. */
const sized = () => model.dims.length > 1 || depths.length > 1;
let setSliders = () => {};
/** Why the page opens at the size at which it does. */
function advice() {
  const at = model.opens_at;
  if (!at) return "How good smaller sizes are was not measured for this model, so the page opens at full size.";
  const measure = `${at.metric.replace("ndcg", "nDCG").replace("mrr", "MRR")} of ${at.tasks.join(" and ")}`;
  const kept = `${(100 * at.kept).toFixed(1)} % of full size’s quality (${measure})`;
  const size = `${count(at.dim)} dimensions and ${plural(at.layers, "layer")}`;
  return at.dim === last(model.dims) && at.layers === last(depths)
    ? `Opens at full size: no smaller one was measured to keep 98 % of its quality (${measure}).`
    : `Opens at ${size}: by meaning ${at.mode === "hybrid" ? "and words" : "alone"}, they were measured to keep ${kept}.`;
}

/** Typing and sliding write over the address as it is; after Enter, or a link, they begin a new step of the history. */
function keepInAddress() {
  const { query, dim, layers, where, compare, mode, group, rerank } = asked;
  const state = new URLSearchParams({ q: query, dim, layers, ...(group && { group: 1 }), ...(rerank && { rerank: 1 }), ...(mode !== model.modes[0] && { mode }), ...(where.trim() && { where }), ...(!compare && { compare: 0 }) });
  const address = query.trim() ? `#${state}` : location.pathname;
  if (address !== location.hash) {
    history[settled ? "pushState" : "replaceState"](null, "", address);
    settled = false;
  }
  document.title = query.trim() ? `${query} · Brickwork search` : "Brickwork search";
}

function readAddress() {
  const state = new URLSearchParams(location.hash.slice(1));
  const nearest = (values, wanted) => values.reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a));
  // The smallest size that was measured to be good enough; full size where none was measured.
  asked.dim = nearest(model.dims, Number(state.get("dim")) || (model.opens_at?.dim ?? last(model.dims)));
  asked.layers = nearest(depths, state.has("layers") ? Number(state.get("layers")) : model.opens_at?.layers ?? last(depths));
  asked.group = $("group").checked = state.get("group") === "1";
  asked.rerank = $("rerank").checked = state.get("rerank") === "1" && Boolean(model.reranker);
  asked.mode = $("mode").value = model.modes.includes(state.get("mode")) ? state.get("mode") : model.modes[0];
  asked.query = $("query").value = state.get("q") ?? "";
  asked.where = $("where").value = state.get("where") ?? "";
  asked.compare = $("compare").checked = state.get("compare") !== "0";
  document.title = asked.query ? `${asked.query} · Brickwork search` : "Brickwork search";
  settled = asked.query !== "";
  setSliders();
}

$("query").addEventListener("input", (event) => { asked.query = event.target.value; later(TYPING_MS); });
$("where").addEventListener("change", (event) => { asked.where = event.target.value; later(0); });
$("compare").addEventListener("change", (event) => { asked.compare = event.target.checked; later(0); });
for (const id of ["group", "rerank"]) $(id).addEventListener("change", (event) => { asked[id] = event.target.checked; later(0); });
$("mode").addEventListener("change", (event) => {
  asked.mode = event.target.value;
  setSliders();
  later(0);
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  asked.where = $("where").value;
  later(0);
  settled = true;
});
$("keys").addEventListener("click", () => $("help").showModal());
$("sides").addEventListener("click", (event) => {
  const side = event.target.dataset.side;
  if (!side) return;
  $("results").dataset.show = side;
  for (const button of $("sides").children) button.setAttribute("aria-pressed", button.dataset.side === side);
});
for (const kind of ["pointerover", "focusin"]) $("results").addEventListener(kind, (event) => {
  const id = event.target.closest("article")?.dataset.id;
  for (const one of articles()) one.classList.toggle("twin", one.dataset.id === id);
});

// ---- keyboard

function goTo(step, across) {
  const here = document.activeElement?.closest?.("article");
  const side = here?.dataset.side ?? "small";
  const wanted = across ? (side === "small" ? "full" : "small") : side;
  const list = articles().filter((one) => one.dataset.side === wanted && one.checkVisibility());
  const rank = here ? [...here.closest("ol").children].indexOf(here.parentNode) + step : 0;
  if (rank < 0) $("query").focus();
  else list[Math.min(rank, list.length - 1)]?.querySelector("button").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const { key, target } = event;
  const typing = target.matches("#query, #where"), inside = Boolean(target.closest?.("article"));
  const actions = {
    Escape: target.id === "query" && (() => {
      if (!target.value) return target.blur();
      asked.query = target.value = "";
      later(0);
    }),
    ArrowDown: (inside || target.id === "query" || target === document.body) && (() => goTo(1)),
    ArrowUp: inside && (() => goTo(-1)),
    ArrowLeft: inside && target.closest("article").dataset.side === "full" && (() => goTo(0, true)),
    ArrowRight: inside && target.closest("article").dataset.side === "small" && (() => goTo(0, true)),
    j: !typing && (() => goTo(1)),
    k: !typing && (() => goTo(-1)),
    "/": !typing && (() => { $("query").focus(); $("query").select(); }),
    c: !typing && (() => $("compare").click()),
    m: !typing && target.id !== "mode" && model.modes.length > 1 && (() => {
      $("mode").value = model.modes[(model.modes.indexOf(asked.mode) + 1) % model.modes.length];
      $("mode").dispatchEvent(new Event("change"));
    }),
    "?": !typing && (() => $("help").showModal()),
  };
  if (!actions[key]) return;
  event.preventDefault();
  actions[key]();
});

// ---- begin

async function start() {
  try {
    model = (await ask("v1/models")).data[0];
  } catch (error) {
    return fail(error, start);
  }
  $("who").textContent = model.documents === undefined ? model.id : `${model.id} · ${plural(model.documents, "document")}`;
  if (model.documents === undefined) return say("This server has a model, but no index to search", [
    "Make an index of your documents, then serve its folder:",
    el("pre", {}, `brickwork index ${model.id} DATA --out runs/index\nbrickwork serve runs/index`),
    el("p", { class: "muted" }, "Embeddings are served as they are: see ", el("a", { href: "docs" }, "the API"), ".")]);
  depths = model.depths ?? model.layers;
  $("mode-choice").hidden = model.modes.length === 1;
  const sliders = [slider("dim", model.dims, "number"), slider("layers", depths, "layer")];
  $("compare").closest("label").hidden = !sized();
  $("where").closest(".controls").classList.toggle("filter-only", !sized());
  $("rerank").closest("label").hidden = !model.reranker;
  $("advice").textContent = sized() ? advice() : "";
  setSliders = () => sliders.forEach((update) => update());
  $("fields").replaceChildren(...(model.fields ?? []).slice(0, 8).map((name) => {
    const button = el("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      const where = $("where");
      where.value = `${where.value.trim() ? `${where.value.trim().replace(/,$/, "")}, ` : ""}${name}=`;
      where.focus();
    });
    return button;
  }));
  if (model.image_shape) offerImage((image) => { asked.image = image; later(0); });
  readAddress();
  addEventListener("popstate", () => { readAddress(); search(); });
  $("app").hidden = false;
  $("query").focus();
  search();
}
start();
