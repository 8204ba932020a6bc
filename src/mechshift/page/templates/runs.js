"use strict";
// Which runs are laid beside each other. The choice stands in the address (#runs=NAME,NAME), so that it
// can be sent.
(function () {
  const boxes = [...document.querySelectorAll(".run-list input")];
  const chosen = document.getElementById("chosen");
  if (!boxes.length) return;

  function show() {
    const keys = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    for (const row of document.querySelectorAll("[data-run]")) row.hidden = !keys.has(row.dataset.run);
    // A task that no chosen run has is no column, and no group of rows.
    const tasks = new Set();
    for (const cell of document.querySelectorAll("tr[data-run]:not([hidden]) td[data-column]:not(.absent)")) tasks.add(cell.dataset.column);
    for (const cell of document.querySelectorAll("[data-column]")) cell.hidden = !tasks.has(cell.dataset.column);
    for (const group of document.querySelectorAll("[data-task-of]")) {
      group.hidden = !group.querySelector("tr[data-run]:not([hidden])");
    }
    chosen.textContent = `${keys.size} of ${boxes.length} runs`;
    return keys;
  }

  function choose(test) {
    for (const box of boxes) box.checked = test(box);
    write();
  }

  function write() {
    const keys = show();
    const hash = keys.size === boxes.length ? "" : `#runs=${[...keys].map(encodeURIComponent).join(",")}`;
    history.replaceState(null, "", hash || location.pathname + location.search);
  }

  function decoded(text) {
    try { return decodeURIComponent(text); } catch { return ""; }
  }

  function read() {
    if (location.hash.startsWith("#runs=")) {
      const keys = new Set(location.hash.slice(6).split(",").map(decoded));
      for (const box of boxes) box.checked = keys.has(box.value);
    }
    show();
  }

  for (const box of boxes) box.addEventListener("change", write);
  document.getElementById("all-runs").addEventListener("click", () => choose(() => true));
  for (const button of document.querySelectorAll(".only")) {
    button.addEventListener("click", () => {
      const family = button.closest("tbody");
      choose((box) => family.contains(box));
    });
  }
  window.addEventListener("hashchange", read);
  read();
  document.documentElement.dataset.drawn = "0";
})();
