"use strict";
// A light or a dark page: as the system has it, or as the button says. Who draws in the page's colours
// listens for `recoloured`.
(function () {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  }

  function recolour() {
    button.textContent = isDark() ? "Light page" : "Dark page";
    document.dispatchEvent(new CustomEvent("recoloured"));
  }

  button.addEventListener("click", function () {
    root.dataset.theme = isDark() ? "light" : "dark";
    recolour();
  });
  dark.addEventListener("change", recolour);

  // Paper is white.
  let screenTheme = null;
  window.addEventListener("beforeprint", function () {
    screenTheme = root.dataset.theme;
    const wasDark = isDark();
    root.dataset.theme = "light";
    if (wasDark) recolour();
  });
  window.addEventListener("afterprint", function () {
    if (screenTheme) root.dataset.theme = screenTheme;
    else delete root.dataset.theme;
    if (isDark()) recolour();
  });

  recolour();
})();
