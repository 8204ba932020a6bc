"use strict";
(function () {
  const root = document.documentElement;
  const narrow = window.matchMedia("(max-width: 760px)");
  const touch = window.matchMedia("(pointer: coarse)");
  const plots = Array.from(document.querySelectorAll(".plot"));
  const look = JSON.parse(document.getElementById("look").textContent);

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

  // What is folded away has no width that a figure could be drawn to.
  function isFolded(plot) {
    return plot.closest("details:not([open]), [hidden]") !== null;
  }

  // Figures that are folded away are drawn when they are opened, and anew if the page has changed since.
  function visible() {
    for (const plot of plots.filter((one) => one.layout && isFolded(one))) Plotly.purge(plot);
    return plots.filter((plot) => plot.layout);
  }

  function recolour() {
    return Promise.all(visible().map((plot) => Plotly.relayout(plot, colours(plot.layout))));
  }

  // Drawn anew: a colour bar that relayout turns from lying to upright ends in the wrong place.
  function reshape() {
    return Promise.all(visible().map(draw));
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

  // What the reader looks at comes first.
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

  document.addEventListener("recoloured", recolour);
  narrow.addEventListener("change", reshape);

  const waiting = new Set();
  let drawing = false;

  // Draws all that can be seen of an element, after what waits already.
  async function drawIn(element) {
    for (const plot of element.querySelectorAll(".plot")) {
      if (isFolded(plot)) continue;
      if (!plot.layout) waiting.add(plot);
      else if (Math.abs(plot.querySelector("svg.main-svg").getBoundingClientRect().width - plot.clientWidth) > 1) Plotly.Plots.resize(plot);
    }
    if (drawing) return;
    drawing = true;
    while (waiting.size) {
      const plot = nearest(waiting);
      waiting.delete(plot);
      if (!isFolded(plot) && !plot.layout) await draw(plot);
      // Let the page breathe between two figures, so that it can be scrolled while they appear.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    drawing = false;
    root.dataset.drawn = String(plots.filter((plot) => plot.layout).length);
  }

  document.addEventListener("toggle", (event) => { if (event.target.open) drawIn(event.target); }, true);
  document.addEventListener("shown", (event) => drawIn(event.target));

  // Paper shows every figure; all are begun before the browser looks at the page.
  window.addEventListener("beforeprint", () => plots.filter((plot) => !plot.layout).forEach(draw));

  drawIn(document);
})();
