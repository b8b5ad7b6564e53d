"use strict";
// Tooltips: the title of a drawn mark or data-tip of a cell, for pointers and for touch.
const bubble = document.getElementById("tip");
for (const mark of document.querySelectorAll("svg title")) {
  if (mark.parentNode.tagName === "svg") continue;
  mark.parentNode.dataset.tip = mark.textContent;
  mark.remove();
}
function point(event) {
  const holder = event.target.closest && event.target.closest("[data-tip]");
  bubble.hidden = !holder;
  if (!holder) return;
  bubble.textContent = holder.dataset.tip;
  const box = bubble.getBoundingClientRect();
  const x = Math.min(Math.max(event.clientX - box.width / 2, 8), innerWidth - box.width - 8);
  const y = event.clientY > box.height + 24 ? event.clientY - box.height - 14 : event.clientY + 18;
  bubble.style.transform = `translate(${x}px, ${y}px)`;
}
addEventListener("pointermove", point);
addEventListener("pointerdown", point);
addEventListener("scroll", () => { bubble.hidden = true; }, { passive: true });

// Depth chips: press one to bring its line forward, press again to let go.
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => {
    const group = chip.closest(".group");
    const on = chip.getAttribute("aria-pressed") !== "true";
    for (const other of group.querySelectorAll(".chip")) other.setAttribute("aria-pressed", on && other === chip);
    for (const series of group.querySelectorAll(".series"))
      series.classList.toggle("faded", on && series.dataset.depth !== chip.dataset.depth);
  });
}

// Search on the map.
const find = document.getElementById("find");
if (find) {
  find.parentNode.hidden = false;
  find.addEventListener("input", () => {
    const word = find.value.trim().toLowerCase();
    let count = 0;
    for (const spot of document.querySelectorAll(".map .spot")) {
      const hit = word !== "" && spot.dataset.tip.toLowerCase().includes(word);
      spot.classList.toggle("found", hit);
      spot.classList.toggle("faded", word !== "" && !hit);
      if (hit && spot.closest(".wide")) count += 1;
    }
    document.getElementById("found").textContent = word ? `${count} found` : "";
  });
}

// Light or dark, against what the system says; printing is always light.
const theme = document.getElementById("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = getComputedStyle(root).getPropertyValue("color-scheme").trim() === "dark"
    || (root.style.colorScheme === "" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.style.colorScheme = dark ? "light" : "dark";
});
let chosen = "";
addEventListener("beforeprint", () => {
  chosen = document.documentElement.style.colorScheme;
  document.documentElement.style.colorScheme = "light";
});
addEventListener("afterprint", () => { document.documentElement.style.colorScheme = chosen; });
