// What an open result shows: its whole text, the passages around it one by one, and the other results of its file.

import { breakable, el, excerpt, marked, plural } from "./text.js";

/** The text of a result between two buttons, which are there as long as there is a passage before or after. `ask` gets a
 *  path of the server. */
export function passageOf(hit, stems, ask) {
  const text = el("p", {}, ...marked(hit.text, stems));
  const box = el("div", { class: "passage" }, text);
  for (const side of ["before", "after"]) offer(box, side, hit.id, stems, ask);
  return box;
}

async function offer(box, side, id, stems, ask) {
  const found = await ask(`v1/neighbours?id=${encodeURIComponent(id)}`).catch(() => null);
  const next = found?.[side][0];
  if (!next) return;
  const button = el("button", { type: "button", class: "unfold", "data-side": side },
    side === "before" ? "↑ the passage before" : "↓ the passage after");
  button.addEventListener("click", () => {
    button.replaceWith(el("p", { class: "around" }, ...marked(next.text, stems)));
    offer(box, side, next.id, stems, ask);
  });
  box[side === "before" ? "prepend" : "append"](button);
}

/** Under a result that stands for its file: how many more passages of it were found, to be unfolded. */
export function othersOf(hit, stems) {
  if (!hit.others?.length) return null;
  return el("details", { class: "others" },
    el("summary", {}, `${plural(hit.others.length, "more passage")} of this file`),
    el("ol", {}, ...hit.others.map((other) => el("li", {},
      el("b", {}, ...breakable(marked(other.title || other.id, stems))), ` ${other.score.toFixed(3)} `,
      el("span", {}, ...excerpt(other.text, stems))))));
}
