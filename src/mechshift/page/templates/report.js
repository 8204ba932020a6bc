"use strict";
(function () {
  const root = document.documentElement;
  const narrow = window.matchMedia("(max-width: 760px)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)");
  const plots = Array.from(document.querySelectorAll(".plot"));
  const button = document.getElementById("theme");
  const look = JSON.parse(document.getElementById("look").textContent);

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  }

  function colour(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }

  function colours(layout) {
    const patch = {
      "font.color": colour("--ink"),
      "hoverlabel.bgcolor": colour("--hover"),
      "hoverlabel.bordercolor": colour("--line"),
      "hoverlabel.font.color": colour("--ink"),
    };
    for (const name of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(name)) {
        patch[name + ".gridcolor"] = colour("--grid");
      }
    }
    return patch;
  }

  function shape(layout) {
    const patch = Object.assign({}, narrow.matches ? layout.meta.narrow : layout.meta.wide);
    // Rows that are named by words need more room, and say how much.
    if (!("margin.l" in patch)) patch["margin.l"] = narrow.matches ? 52 : 64;
    patch["margin.r"] = narrow.matches ? 8 : 16;
    // Setting a height ends autosizing, unless asked otherwise.
    patch.autosize = true;
    // A finger on a phone scrolls the page; it does not draw a zoom box.
    patch.dragmode = touch.matches || narrow.matches ? false : "zoom";
    return patch;
  }

  function label() {
    button.textContent = isDark() ? "Light page" : "Dark page";
  }

  function recolour() {
    label();
    const drawn = plots.filter((plot) => plot.layout);
    return Promise.all(drawn.map((plot) => Plotly.relayout(plot, colours(plot.layout))));
  }

  // Drawn anew: a colour bar that relayout turns from lying to upright ends in the wrong place.
  function reshape() {
    return Promise.all(plots.filter((plot) => plot.layout && !isFolded(plot)).map(draw));
  }

  // What is folded away has no width that a figure could be drawn to.
  function isFolded(plot) {
    const fold = plot.closest("details");
    return fold !== null && !fold.open;
  }

  function assign(target, path, value) {
    const parts = path.replace(/\[(\d+)\]/g, ".$1").split(".");
    const last = parts.pop();
    for (const part of parts) {
      if (target[part] === undefined) target[part] = {};
      target = target[part];
    }
    target[last] = value;
  }

  async function draw(plot) {
    const source = JSON.parse(document.getElementById(plot.id + "-data").textContent);
    const patch = Object.assign(colours(source.layout), shape(source.layout));
    for (const [path, value] of Object.entries(patch)) assign(source.layout, path, value);
    source.layout.template = look;
    plot.style.height = "";
    await Plotly.newPlot(plot, {
      data: source.data,
      layout: source.layout,
      frames: source.frames || [],
      config: {
        responsive: true,
        displaylogo: false,
        modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
      },
    });
  }

  // A page of several tasks takes seconds to draw: what the reader looks at comes first.
  function nearest(waiting) {
    const middle = window.innerHeight / 2;
    let best = null;
    let least = Infinity;
    for (const plot of waiting) {
      const box = plot.getBoundingClientRect();
      const distance = Math.max(box.top - middle, middle - box.bottom, 0);
      if (distance < least) [best, least] = [plot, distance];
    }
    return best;
  }

  button.addEventListener("click", function () {
    root.dataset.theme = isDark() ? "light" : "dark";
    recolour();
  });
  dark.addEventListener("change", recolour);
  narrow.addEventListener("change", reshape);
  for (const fold of document.querySelectorAll("details.fold")) {
    fold.addEventListener("toggle", function () {
      if (fold.open) fold.querySelectorAll(".plot").forEach(draw);
    });
  }

  label();
  (async function () {
    const waiting = new Set(plots.filter((plot) => !isFolded(plot)));
    const count = waiting.size;
    while (waiting.size) {
      const plot = nearest(waiting);
      waiting.delete(plot);
      await draw(plot);
      // Let the page breathe between two figures, so that it can be scrolled while they appear.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    root.dataset.drawn = String(count);
  })();
})();
