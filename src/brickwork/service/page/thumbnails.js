// Small images beside results. They are asked for with the key, which an address in an <img> would not send, and kept
// while the page is open, so that results that move while a slider does are not asked for again.

import { el } from "./text.js";

const MOST = 400;
const kept = new Map();   // address -> promise of the address of what was loaded; the last used at the end

function load(address) {
  const known = kept.get(address) ?? ask(address);
  kept.delete(address);
  kept.set(address, known);
  if (kept.size > MOST) {
    const [oldest, loaded] = kept.entries().next().value;
    kept.delete(oldest);
    loaded.then(URL.revokeObjectURL, () => {});
  }
  return known;
}

async function ask(address) {
  let key = null;
  try { key = sessionStorage.getItem("brickwork-key"); } catch { /* storage is not allowed: there is no key */ }
  const response = await fetch(address, { headers: key ? { Authorization: `Bearer ${key}` } : {} });
  if (!response.ok) throw new Error(response.status);
  return URL.createObjectURL(await response.blob());
}

/** The thumbnail of a hit, or null where it has none. One that cannot be loaded leaves its alternative text. */
export function thumbnail(hit) {
  if (!hit.thumbnail) return null;
  const image = el("img", { class: "thumbnail", alt: hit.text || hit.title || hit.id });
  const address = hit.thumbnail.slice(1);   // below this page, wherever a proxy puts it
  load(address).then((loaded) => { image.src = loaded; }, () => kept.delete(address));
  return image;
}
