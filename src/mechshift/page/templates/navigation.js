"use strict";
// The address, folds, tasks as tabs, and the contents bar. Without this script all of the page can be
// read: tasks follow each other, folds open by themselves, links lead where they say.
(function () {
  const main = document.getElementById("main");
  const contents = document.querySelector("nav.contents");
  const panels = [...document.querySelectorAll("section.task")];
  const bar = document.getElementById("tabs");
  const tabs = bar ? [...bar.querySelectorAll("a")] : [];
  const wide = window.matchMedia("(min-width: 1100px)");

  // ------------------------------------------------------------------------------------- address
  // `#SECTION`, or `#SECTION?STATE` once something was set in the circuit explorer.

  function address() {
    const [section, ...rest] = location.hash.slice(1).split("?");
    return { section, state: rest.join("?") };
  }

  let kept = address().state;

  function write(section) {
    const hash = `#${section}${kept ? `?${kept}` : ""}`;
    if (hash !== location.hash) history.replaceState(null, "", hash);
  }

  window.mechshift = {
    // Keeps the explorer's state in the address, at a section or where the reader is.
    keep(state, section) {
      kept = state;
      write(section || address().section || "explorer");
    },
  };

  // Opens what an element lies in, and the element.
  function reveal(element) {
    const panel = element.closest("section.task");
    if (panel) show(panel);
    for (let fold = element.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  }

  function target(hash) {
    const section = hash.slice(1).split("?")[0];
    const element = section ? document.getElementById(section) : null;
    return element && main.contains(element) ? element : null;
  }

  function arrive() {
    const element = target(location.hash);
    if (!element) return;
    reveal(element);
    element.scrollIntoView({ behavior: "instant" });
  }

  window.addEventListener("hashchange", () => {
    const { section, state } = address();
    if (state) kept = state;
    else write(section);
    arrive();
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    // What a link points into must be open before the browser goes there.
    if (link && !tabs.includes(link)) {
      const element = target(link.getAttribute("href"));
      if (element) reveal(element);
      if (contents && contents.contains(link) && !wide.matches) closeMenu();
    }
    // Whoever opens something by hand can send its address.
    const summary = event.target.closest("summary");
    if (summary && summary.parentElement.id && !summary.parentElement.open) write(summary.parentElement.id);
  });

  // --------------------------------------------------------------------------------------- tasks

  let shown = null;

  // The same thing in another task: ids begin with the task's slug.
  function counterpart(element, panel) {
    return document.getElementById(panel.dataset.slug + element.id.slice(shown.dataset.slug.length));
  }

  function named(panel, selector) {
    return [...panel.querySelectorAll(selector)].filter((one) => one.id.startsWith(`${panel.dataset.slug}-`));
  }

  // What the reader looks at, and how far below the window's top it begins.
  function place(panel) {
    const line = bar.getBoundingClientRect().bottom + window.innerHeight / 6;
    let best = null;
    for (const element of named(shown, "[id]")) {
      if (element.parentElement.closest("details:not([open])") || !counterpart(element, panel)) continue;
      const { top, bottom } = element.getBoundingClientRect();
      if (top <= line && bottom > 0 && (!best || top >= best.top)) best = { element: counterpart(element, panel), top };
    }
    return best;
  }

  function show(panel, keepsPlace) {
    if (panel === shown) return null;
    const at = keepsPlace ? place(panel) : null;
    if (shown) {
      for (const fold of named(shown, "details")) {
        const same = counterpart(fold, panel);
        if (same) same.open = fold.open;
      }
    }
    // Found by the browser's search all the same, where it can.
    for (const one of panels) {
      if (one === panel) one.removeAttribute("hidden");
      else one.setAttribute("hidden", "until-found");
    }
    panels.forEach((one, position) => {
      const list = document.getElementById(`contents-${one.dataset.slug}`);
      if (list) list.hidden = one !== panel;
      if (!tabs.length) return;
      tabs[position].setAttribute("aria-selected", String(one === panel));
      tabs[position].tabIndex = one === panel ? 0 : -1;
    });
    shown = panel;
    document.documentElement.dataset.task = panel.dataset.slug;
    if (at) window.scrollBy({ top: at.element.getBoundingClientRect().top - at.top, behavior: "instant" });
    panel.dispatchEvent(new CustomEvent("shown", { bubbles: true }));
    return at && at.element;
  }

  function choose(position) {
    const at = show(panels[position], true);
    write(at ? at.id : panels[position].id);
    // Sideways alone: the bar itself stays where it is.
    const [tab, around] = [tabs[position].getBoundingClientRect(), bar.getBoundingClientRect()];
    bar.scrollLeft += Math.min(0, tab.left - around.left) + Math.max(0, tab.right - around.right);
  }

  if (bar) {
    bar.setAttribute("role", "tablist");
    tabs.forEach((tab, position) => {
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panels[position].id);
      panels[position].setAttribute("role", "tabpanel");
      panels[position].setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        choose(position);
      });
    });
    bar.addEventListener("keydown", (event) => {
      const now = panels.indexOf(shown);
      const places = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: tabs.length - 1 };
      if (!(event.key in places) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const position = (places[event.key] + tabs.length) % tabs.length;
      choose(position);
      tabs[position].focus({ preventScroll: true });
    });
  }
  document.addEventListener("beforematch", (event) => {
    const panel = event.target.closest("section.task");
    if (panel) show(panel);
  });
  if (panels.length) show(panels[0]);

  // ------------------------------------------------------------------------------------ contents

  function closeMenu() {
    contents.querySelector("details").open = false;
  }

  if (contents) {
    const menu = contents.querySelector("details");
    const links = new Map([...contents.querySelectorAll("li a")].map((link) => [target(link.getAttribute("href")), link]));
    const sections = [...links.keys()];
    const inView = new Set();
    let here = null;

    const mark = function () {
      const atEnd = window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 2;
      const found = atEnd && window.scrollY > 0 ? sections.at(-1) : sections.filter((one) => inView.has(one)).at(-1);
      if (!found || found === here) return;
      if (here) links.get(here).removeAttribute("aria-current");
      here = found;
      const link = links.get(here);
      link.setAttribute("aria-current", "true");
      contents.querySelector(".here").textContent = link.textContent;
      const [box, around] = [link.getBoundingClientRect(), contents.getBoundingClientRect()];
      if (wide.matches && (box.top < around.top || box.bottom > around.bottom)) contents.scrollTop += box.top - around.top - around.height / 2;
    };
    const observer = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) inView.add(entry.target);
        else inView.delete(entry.target);
      }
      mark();
    }, { rootMargin: "-25% 0px -74% 0px" });
    sections.forEach((section) => observer.observe(section));
    window.addEventListener("scroll", mark, { passive: true });

    const fit = function () { menu.open = wide.matches; };
    fit();
    wide.addEventListener("change", fit);
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || wide.matches || !menu.open) return;
      closeMenu();
      menu.querySelector("summary").focus();
    });
    document.addEventListener("click", (event) => {
      if (!wide.matches && menu.open && !contents.contains(event.target)) closeMenu();
    });
  }

  // --------------------------------------------------------------------------------------- paper

  let closed = [];

  window.addEventListener("beforeprint", () => {
    closed = [...main.querySelectorAll("details:not([open])")];
    for (const fold of closed) fold.open = true;
    for (const panel of panels) panel.removeAttribute("hidden");
  });
  window.addEventListener("afterprint", () => {
    for (const fold of closed) fold.open = false;
    for (const panel of panels) if (panel !== shown) panel.setAttribute("hidden", "until-found");
  });

  arrive();
})();
