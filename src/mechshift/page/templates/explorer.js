"use strict";
// The circuit explorer of a report: two models' circuits in one drawing, to search, filter and keep.
//
// 1. Data: what Python packed (topics/explorer_data.py), one script element a task, read when it is
//    first looked at.
// 2. Graph: nodes, edges and names, in the order of mechshift/graph.py.
// 3. State: all that a reader sets. It lives in the address (#explorer?...) and in files.
// 4. Choice: which edges the state draws.
// 5. Drawing: edges on one canvas, nodes and marks on another, so that hovering draws no edges anew.
// 6. Panel: what is known of the selected node and edge.
// 7. Export: what is drawn, as files.
//
// Texts from models and files are only ever set as textContent.
(function () {
  const root = document.documentElement;
  const card = document.querySelector(".explorer");
  const byId = (id) => document.getElementById(id);
  const stage = byId("ex-stage");
  const KINDS = ["q", "k", "v", "mlp", "logits"];
  const CLASSES = ["arm", "mdm", "both"];
  const MODELS = ["arm", "mdm"];
  const COLOURS = { arm: card.dataset.arm, mdm: card.dataset.mdm, both: card.dataset.both };
  const WIDTHS = [1, 1.5, 2.2, 3];
  const MLP_RAISE = 0.45;
  const KIND_OFFSET = [-0.13, 0, 0.13, 0, 0];
  const DASHED_UP_TO = 1500; // More edges cannot be told apart, and dashes take long to draw.
  const AT_ONCE = 4000; // Of more edges the strongest are drawn at once, and all when the reader rests.
  const REST = 150; // Milliseconds after the last change.
  const LISTED = 12;
  const FILE_FORMAT = "mechshift-explorer";
  const FILE_VERSION = 1;

  // ---------------------------------------------------------------------------------------- data

  const ARRAYS = { U8: Uint8Array, I8: Int8Array, U16: Uint16Array, U32: Uint32Array, F32: Float32Array };

  // Numbers of two bytes are the upper halves of float32.
  const fromHalves = (halves) => new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);

  // Of a safetensors file: named arrays with their shapes, and the JSON values of its metadata.
  function parse(buffer) {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const arrays = {};
    for (const [name, entry] of Object.entries(header)) {
      if (name === "__metadata__") continue;
      const bytes = buffer.slice(8 + length + entry.data_offsets[0], 8 + length + entry.data_offsets[1]);
      const numbers = new ARRAYS[entry.dtype](bytes);
      arrays[name] = { shape: entry.shape, values: entry.dtype === "U16" ? fromHalves(numbers) : numbers };
    }
    return { arrays, values: JSON.parse(header.__metadata__.values) };
  }

  async function unpack(element) {
    const text = atob(element.textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return parse(await new Response(stream).arrayBuffer());
  }

  // --------------------------------------------------------------------------------------- graph

  // Nodes: the sources of the graph (input; of each layer its heads, then its MLP), then logits.
  function readGraph({ layers, heads, groups }) {
    const names = ["input"];
    const layer = [-1];
    const head = [-1];
    for (let l = 0; l < layers; l++) {
      for (let h = 0; h <= heads; h++) {
        names.push(h < heads ? `a${l}.h${h}` : `m${l}`);
        layer.push(l);
        head.push(h < heads ? h : -1);
      }
    }
    const numSources = names.length;
    names.push("logits");
    layer.push(layers);
    head.push(-1);
    const centre = heads / 2;
    const x = names.map((name, n) => (n === 0 || n === numSources ? centre : head[n] < 0 ? heads : head[n]));
    const y = names.map((name, n) => layer[n] + (n > 0 && n < numSources && head[n] < 0 ? MLP_RAISE : 0));
    const index = new Map(names.map((name, n) => [name, n]));
    return { layers, heads, groups, groupSize: heads / groups, numSources, names, layer, head, x, y, index };
  }

  // Of every destination, in graph order: kind, layer, head or KV head, and its first edge.
  function readDestinations(graph) {
    const found = { kind: [], layer: [], head: [], offset: [] };
    let offset = 0;
    const add = (kind, layer, head) => {
      found.kind.push(kind);
      found.layer.push(layer);
      found.head.push(head);
      found.offset.push(offset);
      offset += 1 + layer * (graph.heads + 1) + (kind === 3 ? graph.heads : 0);
    };
    for (let l = 0; l < graph.layers; l++) {
      for (let h = 0; h < graph.heads; h++) add(0, l, h);
      for (const kind of [1, 2]) for (let g = 0; g < graph.groups; g++) add(kind, l, g);
      add(3, l, -1);
    }
    add(4, graph.layers, -1);
    return found;
  }

  // Everything of one task, with what is looked up all the time in flat arrays.
  function readTask({ arrays, values }) {
    const graph = readGraph(values.graph);
    const destinations = readDestinations(graph);
    const edges = d3.cumsum(arrays.edges.values);
    const count = edges.length;
    const task = {
      values, arrays, graph, count,
      source: new Int32Array(count), target: new Int32Array(count), kind: new Uint8Array(count),
      toLayer: new Int32Array(count), toHead: new Int32Array(count), shift: new Float32Array(count), offset: new Float32Array(count),
      stepPlace: new Int32Array(count).fill(-1), examplePlace: new Int32Array(count).fill(-1),
      followedPlace: new Int32Array(count).fill(-1),
      ranks: new Map(),
    };
    let d = 0;
    for (let e = 0; e < count; e++) {
      while (d + 1 < destinations.offset.length && destinations.offset[d + 1] <= edges[e]) d++;
      const kind = destinations.kind[d];
      const layer = destinations.layer[d];
      const head = destinations.head[d];
      // A shared key or value is drawn amid its heads, and counts as the first of them in lists.
      const grouped = kind === 1 || kind === 2;
      const first = grouped ? head * graph.groupSize : head;
      const middle = grouped ? first + (graph.groupSize - 1) / 2 : head;
      task.source[e] = edges[e] - destinations.offset[d];
      task.target[e] = kind === 4 ? graph.numSources : 1 + layer * (graph.heads + 1) + (kind === 3 ? graph.heads : first);
      task.kind[e] = kind;
      task.toLayer[e] = layer;
      task.toHead[e] = head;
      task.shift[e] = grouped ? middle - first : 0;
      task.offset[e] = KIND_OFFSET[kind];
    }
    arrays.stepped.values.forEach((e, place) => { task.stepPlace[e] = place; });
    arrays.followed.values.forEach((e, place) => { task.followedPlace[e] = place; });
    arrays.exemplary.values.forEach((e, place) => { task.examplePlace[e] = place; });
    return task;
  }

  function edgeName(task, e) {
    const { graph } = task;
    const kind = task.kind[e];
    const end = kind === 4 ? "logits" : kind === 3 ? `m${task.toLayer[e]}`
      : `a${task.toLayer[e]}.h${task.toHead[e]}<${KINDS[kind]}>`;
    return `${graph.names[task.source[e]]}->${end}`;
  }

  // A shared key or value enters every head of its group.
  function entersNode(task, e, node) {
    const heads = task.kind[e] === 1 || task.kind[e] === 2 ? task.graph.groupSize : 1;
    return node >= task.target[e] && node < task.target[e] + heads;
  }

  function edgesOf(task, node) {
    const into = [];
    const out = [];
    for (let e = 0; e < task.count; e++) {
      if (task.source[e] === node) out.push(e);
      if (entersNode(task, e, node)) into.push(e);
    }
    return { into, out };
  }

  // What scores are asked of: step 0 is the sum over steps, step s the s-th denoising step; checkpoint 0
  // is the MDM, checkpoint c the c-th, which stands in the MDM's place. Not both at once: of a checkpoint
  // there is the sum over steps.
  const OVERALL = { step: 0, checkpoint: 0 };
  const isFollowed = (model, { checkpoint }) => model === "mdm" && checkpoint > 0;

  function score(task, model, e, at) {
    if (isFollowed(model, at)) {
      const place = task.followedPlace[e];
      const scores = task.arrays.checkpoints;
      return place < 0 ? NaN : scores.values[(at.checkpoint - 1) * scores.shape[1] + place];
    }
    const { step } = at;
    if (step === 0) return task.arrays[`${model}.score`].values[e];
    const place = task.stepPlace[e];
    if (place < 0) return NaN;
    const codes = task.arrays[`${model}.steps`];
    const largest = task.arrays[`${model}.steps.largest`].values[place];
    return codes.values[place * codes.shape[1] + step - 1] * (largest / task.values.levels.steps);
  }

  function exampleScores(task, model, e) {
    const place = task.examplePlace[e];
    const codes = task.arrays[`${model}.examples`];
    const part = task.arrays[`${model}.examples.largest`].values[place] / task.values.levels.examples;
    const columns = codes.shape[1];
    return Array.from(codes.values.subarray(place * columns, (place + 1) * columns), (code) => code * part);
  }

  // Place of each edge by |score| from 1 on, 0 where there is no score; at a step or checkpoint among
  // the edges that have one, ties to the lower index.
  function ranks(task, model, at) {
    const followed = isFollowed(model, at);
    if (at.step === 0 && !followed) return task.arrays[`${model}.rank`].values;
    const key = `${model} ${at.step} ${followed ? at.checkpoint : 0}`;
    if (!task.ranks.has(key)) {
      const strength = new Float64Array(task.count);
      const scored = [];
      for (let e = 0; e < task.count; e++) {
        strength[e] = Math.abs(score(task, model, e, at));
        if (strength[e] > 0) scored.push(e);
      }
      scored.sort((a, b) => strength[b] - strength[a] || a - b);
      const rank = new Uint32Array(task.count);
      scored.forEach((e, place) => { rank[e] = place + 1; });
      task.ranks.set(key, rank);
    }
    return task.ranks.get(key);
  }

  function largestSize(task, { step, checkpoint }) {
    const { sizes } = task.values;
    return Math.max(1, checkpoint ? sizes.checkpoints : step ? sizes.steps : sizes.sum);
  }

  // "after 1,600 steps of diffusion"
  function checkpointText(task, checkpoint) {
    const { training, step } = task.values.checkpoints[checkpoint - 1];
    return `after ${thousands(step)} steps of ${training}`;
  }

  // What stands on the MDM's side.
  const modelName = (model, { checkpoint }) => (model === "arm" ? "ARM" : checkpoint ? "checkpoint" : "MDM");
  const className = (of, at) => (of === "both" ? "both" : `${modelName(of, at)} only`);

  function numSteps(task) {
    return task.arrays.stepped.values.length ? task.values.stepExamples.length : 0;
  }

  // --------------------------------------------------------------------------------------- state

  function blankState(task) {
    return {
      task: task.values.task, k: Math.min(task.values.circuitSize, largestSize(task, OVERALL)), ...OVERALL,
      show: CLASSES.slice(), sign: "any", layers: [-1, task.graph.layers], kinds: KINDS.slice(),
      stable: 0, least: 0, between: "all", node: "", edge: "", pinned: [], hidden: [], groups: [],
      labels: {}, note: "",
    };
  }

  const FILTERS = ["show", "sign", "layers", "kinds", "stable", "least", "between"];

  const isText = (value) => typeof value === "string";
  const isTexts = (value) => Array.isArray(value) && value.every(isText);

  // A state that a reader may have written: what cannot be is left out, and said.
  function checkedState(task, given) {
    const state = blankState(task);
    const odd = [];
    const known = (name) => task.graph.index.has(name);
    const whole = (value, low, high) => Number.isInteger(value) && value >= low && value <= high;
    const readers = {
      task: () => true,
      step: (v) => whole(v, 0, numSteps(task)),
      checkpoint: (v) => whole(v, 0, task.values.checkpoints.length),
      k: (v) => whole(v, 1, 2 ** 32),
      show: (v) => isTexts(v) && v.every((one) => CLASSES.includes(one)),
      sign: (v) => ["any", "positive", "negative", "differ"].includes(v),
      layers: (v) => Array.isArray(v) && v.length === 2 && v.every((one) => whole(one, -1, task.graph.layers)),
      kinds: (v) => isTexts(v) && v.every((one) => KINDS.includes(one)),
      stable: (v) => Number.isFinite(v) && v >= 0 && v <= 100,
      least: (v) => Number.isFinite(v) && v >= 0,
      between: (v) => ["all", "at", "between"].includes(v),
      node: (v) => isText(v) && (v === "" || known(v)),
      edge: (v) => isText(v) && (v === "" || task.edgeIndex.has(v)),
      pinned: (v) => isTexts(v) && v.every(known),
      hidden: (v) => isTexts(v) && v.every(known),
      groups: (v) => Array.isArray(v) && v.every((one) => Array.isArray(one) && one.length === 2
        && isText(one[0]) && isTexts(one[1]) && one[1].length > 0 && one[1].every(known)),
      labels: (v) => v !== null && typeof v === "object" && !Array.isArray(v)
        && Object.entries(v).every(([name, label]) => known(name) && isText(label)),
      note: isText,
    };
    for (const [name, value] of Object.entries(given)) {
      const reader = Object.hasOwn(readers, name) ? readers[name] : null;
      if (reader && reader(value)) state[name] = value;
      else odd.push(name);
    }
    state.task = task.values.task;
    if (state.checkpoint && state.step) { odd.push("step"); state.step = 0; }
    state.k = Math.min(state.k, largestSize(task, state));
    const grouped = new Set();
    state.groups = state.groups.filter(([, nodes]) => {
      if (nodes.some((name) => grouped.has(name))) { odd.push("groups"); return false; }
      nodes.forEach((name) => grouped.add(name));
      return true;
    });
    return { state, odd };
  }

  // Only what differs from a fresh explorer stands in the address, so that links stay short.
  function toText(task, state) {
    const blank = blankState(task);
    const parameters = new URLSearchParams({ task: state.task });
    for (const [name, value] of Object.entries(state)) {
      if (JSON.stringify(value) !== JSON.stringify(blank[name])) {
        parameters.set(name, isText(value) ? value : JSON.stringify(value));
      }
    }
    return String(parameters);
  }

  const toHash = (task, state) => `#explorer?${toText(task, state)}`;

  const TEXTS = ["task", "sign", "between", "node", "edge", "note"];

  // Behind the section at which the reader is; null where nothing is.
  function fromHash(hash) {
    const begin = hash.indexOf("?");
    if (begin < 0) return null;
    const given = {};
    for (const [name, text] of new URLSearchParams(hash.slice(begin + 1))) {
      if (TEXTS.includes(name)) given[name] = text;
      else {
        try { given[name] = JSON.parse(text); } catch { given[name] = null; }
      }
    }
    return given;
  }

  // -------------------------------------------------------------------------------------- choice

  function resampleShare(task, model, e) {
    return task.arrays[`${model}.resamples`].values[e] / task.values.resamples;
  }

  // The edges that are drawn, by class, with what each is drawn by.
  function choose(task, state) {
    const { graph } = task;
    const rank = { arm: ranks(task, "arm", state), mdm: ranks(task, "mdm", state) };
    const kinds = new Set(state.kinds.map((kind) => KINDS.indexOf(kind)));
    const hidden = new Set(state.hidden.map((name) => graph.index.get(name)));
    const pinned = new Set(state.pinned.map((name) => graph.index.get(name)));
    const show = new Set(state.show);
    const group = groupPlaces(task, state);
    const [from, to] = state.layers;
    const stable = task.values.resamples ? state.stable / 100 : 0;
    const circuits = { arm: 0, mdm: 0, both: 0 };
    const drawn = { arm: [], mdm: [], both: [] };
    const scores = { arm: new Float64Array(task.count), mdm: new Float64Array(task.count) };
    const strongest = { arm: 0, mdm: 0 };
    for (let e = 0; e < task.count; e++) {
      const inArm = rank.arm[e] > 0 && rank.arm[e] <= state.k;
      const inMdm = rank.mdm[e] > 0 && rank.mdm[e] <= state.k;
      if (!inArm && !inMdm) continue;
      const of = inArm && inMdm ? "both" : inArm ? "arm" : "mdm";
      circuits[of]++;
      const arm = score(task, "arm", e, state);
      const mdm = score(task, "mdm", e, state);
      if (inArm) strongest.arm = Math.max(strongest.arm, Math.abs(arm));
      if (inMdm) strongest.mdm = Math.max(strongest.mdm, Math.abs(mdm));
      const source = task.source[e];
      const target = task.target[e];
      if (!show.has(of) || !kinds.has(task.kind[e])) continue;
      if (graph.layer[source] < from || task.toLayer[e] > to) continue;
      if (hidden.has(source) || hidden.has(target)) continue;
      if (state.between === "at" && !pinned.has(source) && !pinned.has(target)) continue;
      if (state.between === "between" && !(pinned.has(source) && pinned.has(target))) continue;
      // Any model whose circuit holds the edge may let it through.
      const some = (test) => (inArm && test("arm", arm)) || (inMdm && test("mdm", mdm));
      if (state.sign === "positive" && !some((model, value) => value > 0)) continue;
      if (state.sign === "negative" && !some((model, value) => value < 0)) continue;
      if (state.sign === "differ" && !(arm * mdm < 0)) continue;
      if (state.least > 0 && !some((model, value) => Math.abs(value) >= state.least)) continue;
      // Of a checkpoint nothing was resampled.
      if (stable > 0 && !some((model) => !isFollowed(model, state) && resampleShare(task, model, e) >= stable)) continue;
      if (group.size && group.has(source) && group.get(source) === group.get(target)) continue;
      drawn[of].push(e);
      scores.arm[e] = arm;
      scores.mdm[e] = mdm;
    }
    return { drawn, circuits, scores, strongest, group, rank, count: drawn.arm.length + drawn.mdm.length + drawn.both.length };
  }

  function groupPlaces(task, state) {
    const group = new Map();
    state.groups.forEach(([, nodes], g) => nodes.forEach((name) => group.set(task.graph.index.get(name), g)));
    return group;
  }

  // Share of each node, and behind the nodes of each group, in the drawn |score| of each model.
  function nodeShares(task, state, choice) {
    const places = task.graph.names.length + state.groups.length;
    const shares = { arm: new Float64Array(places), mdm: new Float64Array(places) };
    const place = (node) => (choice.group.has(node) ? task.graph.names.length + choice.group.get(node) : node);
    const add = (model, edges) => {
      for (const e of edges) {
        const size = Math.abs(choice.scores[model][e]);
        shares[model][place(task.source[e])] += size;
        shares[model][place(task.target[e])] += size;
      }
    };
    for (const model of MODELS) {
      add(model, choice.drawn[model]);
      add(model, choice.drawn.both);
      let total = 0;
      for (let n = 1; n < places; n++) if (n !== task.graph.numSources) total += shares[model][n];
      if (total > 0) for (let n = 0; n < places; n++) shares[model][n] /= total;
    }
    return shares;
  }

  // ------------------------------------------------------------------------------------- drawing

  const edgeCanvas = byId("ex-edges");
  const markCanvas = byId("ex-marks");
  let transform = d3.zoomIdentity;
  let view = null; // What is drawn now: scales, places, choice, shares.

  function colour(name) {
    return getComputedStyle(root).getPropertyValue(name).trim();
  }

  function margins(width) {
    return { left: 54, right: 18, top: width < 500 ? 62 : 24, bottom: 34 }; // On a phone, below the buttons.
  }

  // From columns and rows to pixels, before zooming.
  function scales(task, width, height) {
    const { graph } = task;
    const space = margins(width);
    return {
      x: d3.scaleLinear([-0.6, graph.heads + 0.6], [space.left, width - space.right]),
      y: d3.scaleLinear([-1.25, graph.layers + 0.25], [height - space.bottom, space.top]),
    };
  }

  // Places of nodes and, behind them, of groups; and half the room that a node has [pixels].
  function places(task, state, scale) {
    const x = task.graph.x.map(scale.x);
    const y = task.graph.y.map(scale.y);
    for (const [, nodes] of state.groups) {
      const members = nodes.map((name) => task.graph.index.get(name));
      x.push(d3.mean(members, (n) => x[n]));
      y.push(d3.mean(members, (n) => y[n]));
    }
    const room = Math.min(scale.x(1) - scale.x(0), scale.y(0) - scale.y(1));
    return { x, y, largest: Math.max(4, Math.min(15, 0.42 * room)) };
  }

  // Start, turn and end of an edge's curve, bowed as in page/circuit_drawing.py.
  function curve(task, e, made) {
    const { graph } = task;
    const group = made.choice.group;
    const source = task.source[e];
    const target = task.target[e];
    const groupPlace = (node) => graph.names.length + group.get(node);
    const from = group.has(source) ? groupPlace(source) : source;
    const to = group.has(target) ? groupPlace(target) : target;
    const x0 = made.places.x[from];
    const y0 = made.places.y[from];
    const x1 = made.places.x[to] + (group.has(target) ? 0 : task.shift[e] * made.column + task.offset[e] * made.offset);
    const y1 = made.places.y[to];
    const rows = graph.y[target] - graph.y[source];
    const side = graph.x[source] <= graph.heads / 2 ? 1 : -1;
    const bow = 0.5 * Math.tanh(Math.abs(rows) / 4) * side * made.offset;
    return [x0, y0, (x0 + x1) / 2 + bow, (y0 + y1) / 2, x1, y1];
  }

  const scoresOf = (choice, e) => ({ arm: choice.scores.arm[e], mdm: choice.scores.mdm[e] });

  function strength(choice, e) {
    const { arm, mdm } = scoresOf(choice, e);
    return Math.sqrt(Math.max(
      choice.strongest.arm ? Math.min(1, Math.abs(arm) / choice.strongest.arm) : 0,
      choice.strongest.mdm ? Math.min(1, Math.abs(mdm) / choice.strongest.mdm) : 0,
    ));
  }

  function lineStyle(of, width, count, dashed) {
    const crowd = Math.max(0.16, Math.min(1, Math.sqrt(250 / Math.max(1, count))));
    return {
      colour: COLOURS[of],
      width: WIDTHS[width] * (of === "both" ? 1.5 : 1) * (0.55 + 0.45 * crowd),
      opacity: Math.min(1, (0.7 + 0.1 * width) * (width === 3 ? 1 : crowd)),
      dash: of === "mdm" && dashed ? [5, 3] : [],
    };
  }

  // Edges of each class in their widths, thin ones first, so that the strongest lie on top.
  // Left out are those beyond a rank in both models.
  function* strokes(made, dashed, last = Infinity) {
    const { choice } = made;
    const { arm, mdm } = choice.rank;
    const sorted = {};
    for (const of of CLASSES) {
      sorted[of] = WIDTHS.map(() => []);
      for (const e of choice.drawn[of]) {
        if ((arm[e] && arm[e] <= last) || (mdm[e] && mdm[e] <= last)) sorted[of][Math.min(3, Math.floor(4 * strength(choice, e)))].push(e);
      }
    }
    for (let width = 0; width < WIDTHS.length; width++) {
      for (const of of CLASSES) {
        if (sorted[of][width].length) yield { edges: sorted[of][width], style: lineStyle(of, width, choice.count, dashed) };
      }
    }
  }

  function drawEdges(context, made, dashed, last) {
    for (const { edges, style } of strokes(made, dashed, last)) {
      context.strokeStyle = style.colour;
      context.lineWidth = style.width;
      context.globalAlpha = style.opacity;
      context.setLineDash(style.dash);
      // Short paths: one path of thousands of curves is drawn many times slower.
      for (let start = 0; start < edges.length; start += 16) {
        context.beginPath();
        for (const e of edges.slice(start, start + 16)) {
          const [x0, y0, x, y, x1, y1] = curve(made.task, e, made);
          context.moveTo(x0, y0);
          context.quadraticCurveTo(x, y, x1, y1);
        }
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  function isGone(made, n) {
    return made.hidden.has(n) || made.choice.group.has(n);
  }

  function nodeRadius(made, model, n) {
    const most = made.mostShare;
    return 2.2 + (made.places.largest - 2.2) * (most > 0 ? Math.sqrt(Math.min(1, made.shares[model][n] / most)) : 0);
  }

  const isEnd = (made, n) => n === 0 || n === made.task.graph.numSources;

  function outerRadius(made, n) {
    if (isEnd(made, n)) return made.places.largest * 0.75;
    return Math.max(nodeRadius(made, "arm", n), nodeRadius(made, "mdm", n));
  }

  function drawNodes(context, made, ink) {
    const { graph } = made.task;
    for (let n = 0; n < graph.names.length + made.state.groups.length; n++) {
      if (isGone(made, n)) continue;
      const x = made.places.x[n];
      const y = made.places.y[n];
      const used = made.shares.arm[n] > 0 || made.shares.mdm[n] > 0;
      context.lineWidth = 1;
      if (isEnd(made, n) || n >= graph.names.length) {
        const half = outerRadius(made, n);
        context.fillStyle = isEnd(made, n) ? ink.neutral : ink.card;
        context.strokeStyle = ink.neutral;
        context.beginPath();
        context.rect(x - half, y - half, 2 * half, 2 * half);
        context.fill();
        context.stroke();
        if (isEnd(made, n)) continue;
      }
      if (!used) {
        context.fillStyle = ink.neutral;
        context.globalAlpha = 0.5;
        context.beginPath();
        context.arc(x, y, 1.8, 0, 2 * Math.PI);
        context.fill();
        context.globalAlpha = 1;
        continue;
      }
      for (const [model, start] of [["arm", Math.PI / 2], ["mdm", -Math.PI / 2]]) {
        if (!(made.shares[model][n] > 0)) continue;
        context.beginPath();
        context.arc(x, y, nodeRadius(made, model, n), start, start + Math.PI);
        context.closePath();
        context.fillStyle = COLOURS[model];
        context.fill();
        context.strokeStyle = ink.card;
        context.stroke();
      }
    }
  }

  function label(made, n) {
    const { graph } = made.task;
    if (n >= graph.names.length) return made.state.groups[n - graph.names.length][0];
    const own = made.state.labels[graph.names[n]];
    return own ? `${graph.names[n]} ${own}` : graph.names[n];
  }

  function drawText(context, text, x, y, ink, align) {
    context.textAlign = align;
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 3;
    context.strokeStyle = ink.card;
    context.strokeText(text, x, y);
    context.fillStyle = ink.ink;
    context.fillText(text, x, y);
  }

  // Which names stand in the drawing: of what is pinned, labelled, selected or a group.
  function named(made) {
    const { graph } = made.task;
    const names = new Set([...made.state.pinned, ...Object.keys(made.state.labels)]);
    if (made.state.node) names.add(made.state.node);
    const nodes = [...names].map((name) => graph.index.get(name));
    made.state.groups.forEach((one, g) => nodes.push(graph.names.length + g));
    return nodes.filter((n) => !isGone(made, n));
  }

  function drawRings(context, made, ink) {
    const { graph } = made.task;
    const ring = (n, width, gap) => {
      context.lineWidth = width;
      context.strokeStyle = ink.ink;
      context.beginPath();
      context.arc(made.places.x[n], made.places.y[n], outerRadius(made, n) * (isEnd(made, n) || n >= graph.names.length ? 1.4 : 1) + gap, 0, 2 * Math.PI);
      context.stroke();
    };
    for (const name of made.state.pinned) {
      const n = graph.index.get(name);
      if (!isGone(made, n)) ring(n, 1.6, 3);
    }
    if (made.state.node) {
      const n = graph.index.get(made.state.node);
      if (!isGone(made, n)) ring(n, 2.6, 6);
    }
  }

  function drawNames(context, made, ink, at) {
    context.font = `600 12px ${ink.font}`;
    for (const n of named(made)) {
      const [x, y] = at(made.places.x[n], made.places.y[n]);
      drawText(context, label(made, n), x, y - outerRadius(made, n) * transform.k - 13, ink, "center");
    }
  }

  function thinned(count, most) {
    const every = Math.max(1, Math.ceil(count / most));
    return d3.range(0, count, every);
  }

  // Ticks keep to the borders while the drawing moves behind them.
  function ticks(made, width, height) {
    const { graph } = made.task;
    const space = margins(width);
    const found = [];
    const row = (text, y) => {
      const place = transform.applyY(made.scale.y(y));
      if (place > 6 && place < height - space.bottom + 8) found.push({ text, x: space.left - 14, y: place, align: "right" });
    };
    const column = (text, x) => {
      const place = transform.applyX(made.scale.x(x));
      if (place > space.left - 10 && place < width - 4) found.push({ text, x: place, y: height - 14, align: "center" });
    };
    row("input", -1);
    thinned(graph.layers, (height / 26) * transform.k).forEach((l) => row(String(l), l));
    row("logits", graph.layers);
    const heads = thinned(graph.heads, ((width - 60) / 30) * transform.k);
    heads.filter((h) => graph.heads - h >= Math.min(1, heads[1] || 1)).forEach((h) => column(`h${h}`, h));
    column("MLP", graph.heads);
    return found;
  }

  function inks(printed) {
    return {
      ink: printed ? "#1c2128" : colour("--ink"), soft: printed ? "#5b6472" : colour("--soft"),
      card: printed ? "#ffffff" : colour("--card"), neutral: card.dataset.neutral,
      font: getComputedStyle(document.body).fontFamily,
    };
  }

  function sized(canvas, ratio) {
    const width = stage.clientWidth;
    const height = stage.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  function zoomed(context) {
    context.translate(transform.x, transform.y);
    context.scale(transform.k, transform.k);
  }

  function arrange(task, state, width, height) {
    const choice = choose(task, state);
    const shares = nodeShares(task, state, choice);
    const scale = scales(task, width, height);
    const inner = (values) => d3.max(values, (share, n) => (n === 0 || n === task.graph.numSources ? 0 : share));
    return {
      task, state, choice, shares, scale, places: places(task, state, scale),
      column: scale.x(1) - scale.x(0),
      offset: Math.min(60, scale.x(1) - scale.x(0)), // Where heads are few, columns are far apart.
      mostShare: Math.max(inner(shares.arm), inner(shares.mdm)),
      hidden: new Set(state.hidden.map((name) => task.graph.index.get(name))),
    };
  }

  let resting = null;

  // All edges, or at first the strongest.
  function paintEdges(printed, whole) {
    clearTimeout(resting);
    const context = sized(edgeCanvas, Math.min(2, window.devicePixelRatio || 1));
    const { count } = view.choice;
    const part = whole || printed || count <= AT_ONCE ? 1 : AT_ONCE / count;
    zoomed(context);
    drawEdges(context, view, printed || count <= DASHED_UP_TO, part < 1 ? view.state.k * part : Infinity);
    stage.dataset.painted = part < 1 ? "part" : "all";
    if (part < 1) resting = setTimeout(() => paintEdges(false, true), REST);
  }

  let hovered = null;

  function highlighted() {
    const edges = [];
    if (hovered && hovered.edge !== undefined) edges.push(hovered.edge);
    if (view.state.edge) edges.push(view.task.edgeIndex.get(view.state.edge));
    return edges;
  }

  // The drawn edges of the selected node, in full colour over the others, which step back.
  function paintNodeEdges(context) {
    const n = view.state.node ? view.task.graph.index.get(view.state.node) : -1;
    const isShown = n >= 0 && !isGone(view, n);
    edgeCanvas.style.opacity = isShown ? "0.25" : "1";
    if (!isShown) return;
    for (const of of CLASSES) {
      for (const e of view.choice.drawn[of]) {
        if (view.task.source[e] !== n && !entersNode(view.task, e, n)) continue;
        const style = lineStyle(of, Math.min(3, Math.floor(4 * strength(view.choice, e))), 1, true);
        context.strokeStyle = style.colour;
        context.lineWidth = style.width / Math.sqrt(transform.k);
        context.setLineDash(style.dash);
        trace(context, curve(view.task, e, view));
      }
    }
    context.setLineDash([]);
  }

  function trace(context, [x0, y0, x, y, x1, y1]) {
    context.beginPath();
    context.moveTo(x0, y0);
    context.quadraticCurveTo(x, y, x1, y1);
    context.stroke();
  }

  function paintMarks(printed) {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const context = sized(markCanvas, ratio);
    const ink = inks(printed);
    context.save();
    zoomed(context);
    paintNodeEdges(context);
    for (const e of highlighted()) {
      for (const [width, stroke] of [[6, ink.card], [3, ink.ink]]) {
        context.lineWidth = width / transform.k;
        context.strokeStyle = stroke;
        trace(context, curve(view.task, e, view));
      }
    }
    drawNodes(context, view, ink);
    drawRings(context, view, ink);
    context.restore();
    drawNames(context, view, ink, (x, y) => transform.apply([x, y]));
    context.font = `12px ${ink.font}`;
    for (const tick of ticks(view, stage.clientWidth, stage.clientHeight)) drawText(context, tick.text, tick.x, tick.y, ink, tick.align);
  }

  function paint(printed) {
    if (!view) return;
    paintEdges(printed);
    paintMarks(printed);
  }

  // ------------------------------------------------------------------------------------- picking

  function nodeAt(x, y) {
    let best = null;
    let least = 14;
    for (let n = 0; n < view.places.x.length; n++) {
      if (isGone(view, n)) continue;
      const [px, py] = transform.apply([view.places.x[n], view.places.y[n]]);
      const distance = Math.hypot(px - x, py - y) - Math.min(8, outerRadius(view, n) * transform.k);
      if (distance < least && distance < 6) [best, least] = [n, distance];
    }
    return best;
  }

  function edgeAt(x, y) {
    const [px, py] = transform.invert([x, y]);
    const reach = 6 / transform.k;
    let best = null;
    let least = reach;
    for (const of of CLASSES) {
      for (const e of view.choice.drawn[of]) {
        const [x0, y0, mx, my, x1, y1] = curve(view.task, e, view);
        if (py < Math.min(y0, y1) - reach || py > Math.max(y0, y1) + reach) continue;
        for (let i = 0; i <= 24; i++) {
          const t = i / 24;
          const a = (1 - t) * (1 - t);
          const b = 2 * t * (1 - t);
          const c = t * t;
          const distance = Math.hypot(a * x0 + b * mx + c * x1 - px, a * y0 + b * my + c * y1 - py);
          if (distance < least) [best, least] = [e, distance];
        }
      }
    }
    return best;
  }

  function found(x, y) {
    const node = nodeAt(x, y);
    if (node !== null) return { node };
    const edge = edgeAt(x, y);
    return edge === null ? null : { edge };
  }

  // --------------------------------------------------------------------------------------- words

  function number(value, signed) {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const digits = size === 0 ? 2 : size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size)));
    const text = value.toFixed(digits);
    return (signed && value > 0 ? "+" : "") + text.replace("-", "−");
  }

  const interval = (low, high) => (Number.isFinite(low) && Number.isFinite(high) ? `[${number(low)}, ${number(high)}]` : "");
  const percent = (share) => `${(100 * share).toFixed(share > 0.1 && share < 1 ? 0 : 1).replace(/\.0$/, "")} %`;
  const thousands = (count) => count.toLocaleString("en-US");

  function rankText(task, rank) {
    if (!rank) return "no score";
    return rank > task.values.sizes.sum ? `rank ≤ ${thousands(rank)}` : `rank ${thousands(rank)}`;
  }

  function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name === "class") element.className = value;
      else if (name === "text") element.textContent = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function button(text, action, properties) {
    return make("button", { type: "button", class: "ex-button", text, onclick: action, ...properties });
  }

  // --------------------------------------------------------------------------------------- panel

  let current = null; // The task that is open.
  let state = null;
  let all = { into: false, out: false };

  function membership(e) {
    const inArm = ranks(current, "arm", state)[e];
    const inMdm = ranks(current, "mdm", state)[e];
    const arm = inArm > 0 && inArm <= state.k;
    const mdm = inMdm > 0 && inMdm <= state.k;
    return arm && mdm ? "both" : arm ? "arm" : mdm ? "mdm" : "";
  }

  function dot(of) {
    const text = of ? className(of, state) : "in neither circuit";
    const mark = make("span", { class: "ex-dot", role: "img", "aria-label": text, title: text });
    if (of) mark.style.background = COLOURS[of];
    return mark;
  }

  function scoreCell(model, e) {
    const cell = make("td", {}, make("span", { text: number(score(current, model, e, state), true) }));
    if (state.step === 0 && !isFollowed(model, state)) {
      const mean = score(current, model, e, OVERALL);
      const bounds = interval(mean - current.arrays[`${model}.below`].values[e], mean + current.arrays[`${model}.above`].values[e]);
      cell.append(make("small", { text: bounds }), make("small", { text: rankText(current, ranks(current, model, OVERALL)[e]) }));
    } else {
      const rank = ranks(current, model, state)[e];
      cell.append(make("small", { text: rank ? `rank ${thousands(rank)}` : "no score" }));
    }
    return cell;
  }

  function edgeTable(title, direction, edges, otherEnd) {
    const rank = { arm: ranks(current, "arm", state), mdm: ranks(current, "mdm", state) };
    const best = (e) => Math.min(rank.arm[e] || Infinity, rank.mdm[e] || Infinity);
    const sorted = edges.slice().sort((a, b) => best(a) - best(b) || a - b);
    const shown = all[direction] ? sorted : sorted.slice(0, LISTED);
    const part = make("div", { id: `ex-list-${direction}` }, make("h4", { text: `${title}: ${thousands(sorted.length)}` }));
    if (!sorted.length) return part;
    const body = make("tbody");
    for (const e of shown) {
      body.append(make("tr", {},
        make("th", { scope: "row" }, dot(membership(e)), make("button", {
          type: "button", class: "ex-link", text: otherEnd(e), "data-edge": edgeName(current, e),
          onclick: () => set({ edge: edgeName(current, e) }, { reveal: "ex-edge" }),
        })),
        scoreCell("arm", e), scoreCell("mdm", e)));
    }
    part.append(make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col", text: direction === "into" ? "from" : "to" }),
      ...modelHeads(state))), body));
    if (sorted.length > LISTED) {
      part.append(make("button", {
        type: "button", class: "ex-link", text: all[direction] ? `The strongest ${LISTED}` : `All ${thousands(sorted.length)}`,
        onclick: () => { all[direction] = !all[direction]; fillPanel(); },
      }));
    }
    return part;
  }

  const modelHeads = (at) => MODELS.map((model) => make("th", { scope: "col", text: modelName(model, at) }));

  // What is known of a node is known of the ARM and the MDM themselves.
  function factTable(title, rows, note, at = OVERALL) {
    if (!rows.length) return null;
    const body = make("tbody");
    for (const [name, ...cells] of rows) {
      body.append(make("tr", {}, make("th", { scope: "row", text: name }), ...cells.map((cell) => (cell instanceof Node ? cell : make("td", { text: cell })))));
    }
    const part = make("div", { class: "ex-text" }, make("h4", { text: title }), make("table", {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "" }), ...modelHeads(at))), body));
    if (note) part.append(make("p", { class: "soft small", text: note }));
    return part;
  }

  // Entry of three arrays that hold value, low and high.
  function estimate(name, place) {
    const read = (part) => current.arrays[`${name}.${part}`].values[place];
    const value = read("value");
    return Number.isFinite(value) ? `${number(value)} ${interval(read("low"), read("high"))}`.trim() : "–";
  }

  function lensFacts(n) {
    const { values, arrays } = current;
    if (!values.lens || n >= current.graph.numSources) return null;
    const step = Math.max(0, state.step - 1);
    const rows = [];
    const place = (model) => {
      const [steps, sources] = arrays[`${model}.lens.value`].shape;
      return step < steps ? step * sources + n : -1;
    };
    rows.push([`${values.lens.reading} of the answer, step ${step + 1}`, ...MODELS.map((model) => (place(model) < 0 ? "–" : estimate(`${model}.lens`, place(model))))]);
    const tokens = MODELS.map((model) => {
      const cell = make("td");
      for (const [text, share] of (values.tokens[model] || [])[n] || []) {
        cell.append(make("code", { class: "token", text }), ` ${percent(share)} `);
      }
      return cell;
    });
    if (tokens.some((cell) => cell.childNodes.length)) rows.push(["first tokens", ...tokens]);
    return factTable("Lens", rows, "What it writes, read through the unembedding alone; share of the predictions in which a token is among the first five.");
  }

  function roleFacts(n) {
    const { values, arrays, graph } = current;
    if (!values.roles || n >= graph.numSources || graph.head[n] < 0) return null;
    const place = (role) => (role * graph.layers + graph.layer[n]) * graph.heads + graph.head[n];
    const rows = [];
    values.roles.names.forEach((name, role) => {
      const cells = MODELS.map((model) => {
        const text = estimate(`${model}.roles`, place(role));
        return arrays[`${model}.roles.holds`].values[place(role)] ? `${text} holds` : text;
      });
      rows.push([name, ...cells]);
    });
    return factTable("Attention beyond uniform, by role", rows, `“holds”: the whole interval is above ${values.roles.threshold}.`);
  }

  function ablationFacts(n) {
    const { values, graph } = current;
    if (!values.ablation || n === 0 || n >= graph.numSources) return null;
    const cells = MODELS.map((model) => estimate(`${model}.ablation`, n - 1));
    return factTable("Ablated alone", [[`drop in ${values.ablation.metric}`, ...cells]], `Replacement: ${values.ablation.replacement}; held-out examples; positive: ablating hurts.`);
  }

  function neuronFacts(n) {
    const { values, graph } = current;
    if (!values.neurons) return null;
    const part = make("div", {}, make("h4", { text: "Neurons" }));
    for (const model of MODELS) {
      for (const neuron of (values.neurons[model] || {})[graph.names[n]] || []) {
        part.append(make("p", {}, make("strong", { text: `${modelName(model, OVERALL)} ${neuron.name}` }), ` score ${neuron.score}`));
        for (const [before, token, after] of neuron.contexts) {
          part.append(make("span", { class: "ex-context" }, before, make("mark", { text: token }), after));
        }
        if (neuron.promotes.length) part.append(make("p", { class: "small" }, "promotes ", ...neuron.promotes.flatMap((token) => [make("code", { class: "token", text: token }), " "])));
        if (neuron.sentence) part.append(make("p", { class: "small", text: neuron.sentence }));
      }
    }
    return part.childNodes.length > 1 ? part : null;
  }

  function nodePanel(n) {
    const { graph } = current;
    const name = graph.names[n];
    const part = make("div", { id: "ex-node" });
    const kind = n === 0 ? "what the embedding writes" : n === graph.numSources ? "what the model answers"
      : graph.head[n] < 0 ? `MLP of layer ${graph.layer[n]}` : `attention head ${graph.head[n]} of layer ${graph.layer[n]}`;
    const share = MODELS.map((model) => `${modelName(model, state)} ${percent(view.shares[model][n])}`).join(", ");
    part.append(make("h3", { text: name }), make("p", { class: "soft", text: kind }));
    if (n > 0 && n < graph.numSources) part.append(make("p", { text: `Of the drawn score of heads and MLPs: ${share}.` }));
    const pinned = state.pinned.includes(name);
    const hidden = state.hidden.includes(name);
    part.append(make("p", { class: "ex-buttons" },
      button(pinned ? "Unpin" : "Pin", () => togglePin(name), { "aria-pressed": String(pinned), id: "ex-pin" }),
      button(hidden ? "Show" : "Hide", () => toggleHidden(name), { "aria-pressed": String(hidden), id: "ex-hide" })));
    const input = make("input", { type: "text", id: "ex-label", maxlength: "80", placeholder: "a name of your own" });
    input.value = state.labels[name] || "";
    input.addEventListener("change", () => {
      const labels = { ...state.labels };
      if (input.value.trim()) labels[name] = input.value.trim();
      else delete labels[name];
      set({ labels });
    });
    part.append(make("label", { class: "ex-field" }, "Label", input));
    const { into, out } = edgesOf(current, n);
    const end = (e) => `${graph.names[current.target[e]]}${current.kind[e] < 3 ? ` ${KINDS[current.kind[e]]}` : ""}`;
    const start = (e) => `${graph.names[current.source[e]]}${current.kind[e] < 3 ? ` → ${KINDS[current.kind[e]]}` : ""}`;
    if (n > 0) part.append(edgeTable("Edges in", "into", into, start));
    if (n < graph.numSources) part.append(edgeTable("Edges out", "out", out, end));
    for (const facts of [ablationFacts(n), lensFacts(n), roleFacts(n), neuronFacts(n)]) if (facts) part.append(facts);
    return part;
  }

  function edgePanel(e) {
    const part = make("div", { id: "ex-edge", tabindex: "-1" }, make("h3", { text: edgeName(current, e) }));
    const of = membership(e);
    part.append(make("p", {}, dot(of), of ? `in the circuit${of === "both" ? "s of both models" : ` of the ${modelName(of, state)} only`}` : "in neither circuit at this K"));
    const rows = [[state.step === 0 ? "mean score" : `mean score, step ${state.step}`, ...MODELS.map((model) => scoreCell(model, e))]];
    if (current.values.resamples) rows.push(["resamples with it", ...MODELS.map((model) => (isFollowed(model, state) ? "–" : percent(resampleShare(current, model, e))))]);
    part.append(factTable(`Score [${current.values.metricUnit}]`, rows, "", state));
    const ends = [current.source[e], current.target[e]].map((n) => make("button", {
      type: "button", class: "ex-link", text: current.graph.names[n], onclick: () => set({ node: current.graph.names[n], edge: "" }),
    }));
    part.append(make("p", {}, "From ", ends[0], " to ", ends[1], "."));
    part.append(examplePlot(e));
    part.append(button("Close edge", () => set({ edge: "" })));
    return part;
  }

  const SVG = "http://www.w3.org/2000/svg";

  function draw(tag, attributes, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // A dot for every example in both models on one axis; what is hovered is marked in both.
  function examplePlot(e) {
    const { values } = current;
    const part = make("div", { id: "ex-examples" }, make("h4", { text: `Every ${values.unit}` }));
    if (current.examplePlace[e] < 0) {
      part.append(make("p", { class: "soft", text: `Scores of single ${values.unit}s are here for the ${thousands(values.sizes.examples)} strongest edges of each model.` }));
      return part;
    }
    const scores = Object.fromEntries(MODELS.map((model) => [model, exampleScores(current, model, e)]));
    const [low, high] = d3.extent([0, ...scores.arm, ...scores.mdm]);
    const x = d3.scaleLinear([low, high === low ? low + 1 : high], [44, 346]).nice();
    const plot = draw("svg", { class: "ex-plot", viewBox: "0 0 360 190", role: "img", "aria-label": `Scores of ${edgeName(current, e)} on ${values.numRows} ${values.unit}s in both models` });
    const line = make("p", { class: "small", text: "Hover or tap a dot for its number." });
    const dots = [];
    const choose = (row) => {
      for (const circle of dots) circle.classList.toggle("chosen", circle.dataset.row === String(row));
      line.textContent = `${values.unit} ${row}: ARM ${number(scores.arm[row], true)}, MDM ${number(scores.mdm[row], true)}`;
    };
    plot.append(draw("line", { class: "ex-axis", x1: x(0), x2: x(0), y1: 6, y2: 164, "stroke-dasharray": "2 3" }));
    MODELS.forEach((model, place) => {
      const middle = 44 + 78 * place;
      const text = draw("text", { x: 2, y: middle + 4 });
      text.textContent = modelName(model, OVERALL);
      plot.append(text);
      scores[model].forEach((value, row) => {
        // Spread by the golden ratio, so that neighbours stand apart and every drawing is the same.
        const jitter = ((row * 0.618034) % 1) - 0.5;
        const circle = draw("circle", { cx: x(value), cy: middle + 56 * jitter, r: 3, fill: COLOURS[model], "fill-opacity": 0.5 });
        circle.dataset.row = String(row);
        for (const event of ["pointerenter", "click"]) circle.addEventListener(event, () => choose(row));
        dots.push(circle);
        plot.append(circle);
      });
      const at = x(d3.mean(scores[model]));
      plot.append(draw("line", { x1: at, x2: at, y1: middle - 34, y2: middle + 34, stroke: COLOURS[model], "stroke-width": 2.5 }));
    });
    plot.append(draw("line", { class: "ex-axis", x1: 40, x2: 350, y1: 166, y2: 166 }));
    for (const tick of x.ticks(5)) {
      const text = draw("text", { x: x(tick), y: 182, "text-anchor": "middle" });
      text.textContent = number(tick);
      plot.append(text);
    }
    part.append(plot, line, make("p", { class: "soft small", text: `Summed over steps; upright lines: means. Rounded to 1/${values.levels.examples} of the largest |score| in each model.` }));
    return part;
  }

  function groupPanel(g) {
    const [name, nodes] = state.groups[g];
    return make("div", {}, make("h3", { text: name }), make("p", { class: "soft", text: `a group of ${nodes.length} nodes` }),
      make("p", { text: nodes.join(", ") }), make("p", { class: "ex-buttons" }, button("Ungroup", () => ungroup(g))));
  }

  let chosenGroup = null;

  function fillPanel() {
    const panel = byId("ex-panel");
    const focused = panel.contains(document.activeElement) ? document.activeElement.id || document.activeElement.dataset.edge : null;
    const parts = [];
    if (chosenGroup !== null && state.groups[chosenGroup]) parts.push(groupPanel(chosenGroup));
    if (state.edge) parts.push(edgePanel(current.edgeIndex.get(state.edge)));
    if (state.node) parts.push(nodePanel(current.graph.index.get(state.node)));
    if (!parts.length) parts.push(overview());
    panel.replaceChildren(...parts);
    if (focused) {
      const again = [...panel.querySelectorAll("button, input")].find((one) => one.id === focused || one.dataset.edge === focused);
      if (again) again.focus({ preventScroll: true });
    }
  }

  // Before anything is selected: the nodes whose share of the drawn score differs most.
  function overview() {
    const { graph } = current;
    const part = make("div", {}, make("h3", { text: "Nodes that differ most" }),
      make("p", { class: "soft", text: "Share of the drawn score of heads and MLPs, ARM and MDM. Nothing here is tested; the task's section below has the verdicts." }));
    const nodes = d3.range(1, graph.numSources).filter((n) => view.shares.arm[n] || view.shares.mdm[n]);
    nodes.sort((a, b) => Math.abs(view.shares.mdm[b] - view.shares.arm[b]) - Math.abs(view.shares.mdm[a] - view.shares.arm[a]));
    const body = make("tbody");
    for (const n of nodes.slice(0, LISTED)) {
      body.append(make("tr", {}, make("th", { scope: "row" }, make("button", { type: "button", class: "ex-link", text: graph.names[n], onclick: () => set({ node: graph.names[n] }) })),
        ...MODELS.map((model) => make("td", { text: percent(view.shares[model][n]) }))));
    }
    part.append(make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "node" }), ...modelHeads(state))), body));
    return part;
  }

  function chips(title, names, remove) {
    const list = make("p", { class: "ex-chips" }, make("span", { class: "soft", text: `${title}:` }));
    for (const name of names) {
      list.append(make("span", { class: "ex-chip" },
        make("button", { type: "button", class: "ex-link", text: state.labels[name] ? `${name} ${state.labels[name]}` : name, onclick: () => set({ node: name }) }),
        make("button", { type: "button", text: "×", "aria-label": `${title}: take ${name} out`, onclick: () => remove(name) })));
    }
    return list;
  }

  function fillKept() {
    const kept = byId("ex-kept");
    const parts = [];
    if (state.pinned.length) {
      parts.push(chips("Pinned", state.pinned, togglePin));
      const name = make("input", { type: "text", id: "ex-group-name", maxlength: "80", placeholder: "name of a group", "aria-label": "Name of a group" });
      parts.push(make("p", { class: "ex-buttons" }, name, button("Group pinned nodes", () => group(name.value), { id: "ex-group" })));
    }
    if (state.hidden.length) parts.push(chips("Hidden", state.hidden, toggleHidden));
    state.groups.forEach(([name, nodes], g) => {
      parts.push(make("p", { class: "ex-chips" }, make("span", { class: "ex-chip" }, `${name}: ${nodes.join(", ")}`,
        make("button", { type: "button", text: "×", "aria-label": `Ungroup ${name}`, onclick: () => ungroup(g) }))));
    });
    if (!parts.length) parts.push(make("p", { class: "soft", text: "Nothing yet. Select a node and pin or hide it; pinned nodes can be grouped into one." }));
    kept.replaceChildren(...parts);
  }

  // -------------------------------------------------------------------------------------- export

  function drawnEdges() {
    return CLASSES.flatMap((of) => view.choice.drawn[of].map((e) => ({ e, of }))).sort((a, b) => a.e - b.e);
  }

  function title() {
    const at = state.step ? `denoising step ${state.step}` : `sum over denoising steps${state.checkpoint ? `, MDM's side ${checkpointText(current, state.checkpoint)}` : ""}`;
    return `${card.dataset.pair}, ${state.task}: K = ${thousands(state.k)}, ${at}, ${thousands(view.choice.count)} edges drawn`;
  }

  const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`).replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "\ufffd");

  function svgText() {
    const width = 1000;
    const height = 760;
    const made = arrange(current, state, width, height - 60);
    const ink = inks(true);
    const fixed = (value) => value.toFixed(2);
    const rows = [`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
      `<title>${escaped(title())}</title>`, `<rect width="${width}" height="${height}" fill="${ink.card}"/>`,
      `<text x="20" y="22" font-size="14" fill="${ink.ink}">${escaped(title())}</text>`];
    CLASSES.forEach((of, place) => {
      const style = lineStyle(of, 2, 1, true);
      const x = 20 + 150 * place;
      rows.push(`<line x1="${x}" y1="42" x2="${x + 34}" y2="42" stroke="${style.colour}" stroke-width="${style.width}" stroke-dasharray="${style.dash}"/>`,
        `<text x="${x + 42}" y="46" fill="${ink.ink}">${className(of, state)} ${made.choice.drawn[of].length}</text>`);
    });
    rows.push('<g transform="translate(0 60)">');
    for (const { edges, style } of strokes(made, true)) {
      rows.push(`<g fill="none" stroke="${style.colour}" stroke-width="${fixed(style.width)}" stroke-opacity="${fixed(style.opacity)}" stroke-dasharray="${style.dash}">`);
      for (const e of edges) {
        const [x0, y0, x, y, x1, y1] = curve(current, e, made).map(fixed);
        rows.push(`<path d="M${x0} ${y0}Q${x} ${y} ${x1} ${y1}"><title>${escaped(edgeName(current, e))}</title></path>`);
      }
      rows.push("</g>");
    }
    for (let n = 0; n < made.places.x.length; n++) {
      if (isGone(made, n)) continue;
      const [x, y] = [made.places.x[n], made.places.y[n]];
      const half = outerRadius(made, n);
      if (isEnd(made, n) || n >= current.graph.names.length) rows.push(`<rect x="${fixed(x - half)}" y="${fixed(y - half)}" width="${fixed(2 * half)}" height="${fixed(2 * half)}" fill="${isEnd(made, n) ? ink.neutral : ink.card}" stroke="${ink.neutral}"><title>${escaped(label(made, n))}</title></rect>`);
      if (isEnd(made, n)) continue;
      for (const [model, sweep] of [["arm", 0], ["mdm", 1]]) {
        const r = made.shares[model][n] > 0 ? nodeRadius(made, model, n) : 0;
        if (r) rows.push(`<path d="M${fixed(x)} ${fixed(y - r)}A${fixed(r)} ${fixed(r)} 0 0 ${sweep} ${fixed(x)} ${fixed(y + r)}Z" fill="${COLOURS[model]}"><title>${escaped(label(made, n))}</title></path>`);
      }
    }
    for (const n of named(made)) rows.push(`<text x="${fixed(made.places.x[n])}" y="${fixed(made.places.y[n] - outerRadius(made, n) - 7)}" text-anchor="middle" font-weight="600" fill="${ink.ink}">${escaped(label(made, n))}</text>`);
    const before = transform;
    transform = d3.zoomIdentity;
    for (const tick of ticks(made, width, height - 60)) rows.push(`<text x="${fixed(tick.x)}" y="${fixed(tick.y + 4)}" text-anchor="${tick.align === "right" ? "end" : "middle"}" fill="${ink.soft}">${escaped(tick.text)}</text>`);
    transform = before;
    rows.push("</g></svg>\n");
    return rows.join("\n");
  }

  // As mechshift.circuits.formats.graphml writes it, with both models' scores beside the one chosen.
  function graphmlText(model) {
    const { graph, values } = current;
    const edges = drawnEdges();
    const grouped = graph.groups < graph.heads;
    const nodes = new Map();
    const addNode = (name, entries) => { if (!nodes.has(name)) nodes.set(name, entries); };
    const nodeScore = new Map();
    const rows = [];
    const keys = { label: "string", kind: "string", layer: "long", head: "long", score: "double", arm: "double", mdm: "double", circuits: "string" };
    const header = { content: ["string", "circuit"], num_layers: ["long", graph.layers], num_heads: ["long", graph.heads], num_key_value_groups: ["long", graph.groups], score_dtype: ["string", "float32"], task: ["string", state.task], model: ["string", exportName(model)] };
    const data = (id, value) => `<data key="${id}">${escaped(value)}</data>`;
    const place = (n) => ({ label: graph.names[n], kind: n === 0 ? "input" : n === graph.numSources ? "logits" : graph.head[n] < 0 ? "mlp" : "head", layer: graph.layer[n], ...(graph.head[n] >= 0 ? { head: graph.head[n] } : {}) });
    const links = [];
    for (const { e, of } of edges) {
      const kind = KINDS[current.kind[e]];
      const { arm, mdm } = scoresOf(view.choice, e);
      const value = view.choice.scores[model][e];
      const source = graph.names[current.source[e]];
      const shared = grouped && (kind === "k" || kind === "v");
      const target = shared ? `a${current.toLayer[e]}.kv${current.toHead[e]}` : graph.names[current.target[e]];
      addNode(source, place(current.source[e]));
      if (shared) addNode(target, { label: target, kind: "kv_head", layer: current.toLayer[e], head: current.toHead[e] });
      else addNode(target, place(current.target[e]));
      for (const name of [source, target]) nodeScore.set(name, (nodeScore.get(name) || 0) + Math.abs(value));
      links.push(`<edge source="${escaped(source)}" target="${escaped(target)}" id="${escaped(edgeName(current, e))}">${data("e_kind", kind)}${data("e_score", value)}${data("e_arm", arm)}${data("e_mdm", mdm)}${data("e_circuits", className(of, state))}</edge>`);
    }
    if (grouped) {
      for (const [name, entries] of [...nodes]) {
        if (entries.kind !== "kv_head") continue;
        for (let h = entries.head * graph.groupSize; h < (entries.head + 1) * graph.groupSize; h++) {
          const n = graph.index.get(`a${entries.layer}.h${h}`);
          addNode(graph.names[n], place(n));
          links.push(`<edge source="${name}" target="${graph.names[n]}" id="${name}-&gt;${graph.names[n]}">${data("e_kind", "group")}</edge>`);
        }
      }
    }
    rows.push('<?xml version="1.0" encoding="utf-8"?>', '<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">');
    for (const [name, [type]] of Object.entries(header)) rows.push(`<key id="g_${name}" for="graph" attr.name="${name}" attr.type="${type}"/>`);
    for (const name of ["label", "kind", "layer", "head", "score", "group"]) rows.push(`<key id="n_${name}" for="node" attr.name="${name}" attr.type="${keys[name] || "string"}"/>`);
    for (const name of ["kind", "score", "arm", "mdm", "circuits"]) rows.push(`<key id="e_${name}" for="edge" attr.name="${name}" attr.type="${keys[name]}"/>`);
    rows.push('<graph edgedefault="directed">');
    for (const [name, [, value]] of Object.entries(header)) rows.push(data(`g_${name}`, value));
    const groups = new Map(state.groups.flatMap(([name, members]) => members.map((member) => [member, name])));
    for (const [name, entries] of nodes) {
      const stated = { ...entries, ...(state.labels[name] ? { label: state.labels[name] } : {}), ...(groups.has(name) ? { group: groups.get(name) } : {}) };
      if (entries.kind !== "logits" && entries.kind !== "kv_head") stated.score = nodeScore.get(name) || 0;
      rows.push(`<node id="${escaped(name)}">${Object.entries(stated).map(([key, value]) => data(`n_${key}`, value)).join("")}</node>`);
    }
    rows.push(...links, "</graph>", "</graphml>", "");
    return rows.join("\n");
  }

  // As mechshift.circuits.formats.mib_json writes it.
  function mibText(model) {
    const { graph } = current;
    const width = Number(byId("ex-width").value);
    if (graph.groups < graph.heads) throw new Error(`MIB's format has one k and one v input for each query head; this graph has ${graph.groups} for ${graph.heads} heads. Export GraphML.`);
    if (!Number.isInteger(width) || width < 1) throw new Error("MIB's JSON states how wide the residual stream is (d_model), which the run does not store: type it in beside the button.");
    const used = new Set(["logits"]);
    const edges = {};
    for (const { e } of drawnEdges()) {
      used.add(graph.names[current.source[e]]).add(graph.names[current.target[e]]);
      edges[edgeName(current, e)] = { score: view.choice.scores[model][e], in_graph: true };
    }
    const nodes = Object.fromEntries(graph.names.map((name) => [name, { in_graph: used.has(name) }]));
    return JSON.stringify({ cfg: { n_layers: graph.layers, n_heads: graph.heads, parallel_attn_mlp: false, d_model: width }, nodes, edges }) + "\n";
  }

  // The graph schema of circuit-tracer's frontend (create_graph_files.py and graph_models.py of
  // github.com/decoderesearch/circuit-tracer, opened in its frontend of commit 4bb8c0e). Its nodes stand
  // on tokens of a prompt; a circuit's have no token, so their columns are: one a head, one for MLPs. It
  // has one link for two nodes, so scores of q, k and v are added up. Of a "cross layer transcoder" it
  // would ask the network for examples of a feature; heads and MLPs have types of their own, of which it
  // asks nothing.
  function tracerText(model) {
    const { graph } = current;
    const columns = [...d3.range(graph.heads).map((h) => `h${h}`), "MLP"];
    const pairing = (a, b) => ((a + b) * (a + b + 1)) / 2 + b;
    const column = (n) => (graph.head[n] >= 0 ? graph.head[n] : graph.heads);
    const id = (n) => (n === 0 ? `E_0_0` : n === graph.numSources ? `${graph.layers + 1}_0_${graph.heads}` : `${graph.layer[n]}_${column(n)}_${column(n)}`);
    const used = new Set();
    const weights = new Map();
    for (const { e } of drawnEdges()) {
      const ends = [current.source[e], current.target[e]];
      ends.forEach((n) => used.add(n));
      const key = ends.join(" ");
      weights.set(key, (weights.get(key) || 0) + view.choice.scores[model][e]);
    }
    const node = (n) => {
      const common = { node_id: id(n), token_prob: 0, is_target_logit: false, run_idx: 0, reverse_ctx_idx: 0, influence: view.shares[model][n], activation: null };
      const name = label({ ...view }, n);
      if (n === 0) return { ...common, feature: 0, layer: "E", ctx_idx: 0, feature_type: "embedding", jsNodeId: "E_0-0", clerp: name };
      if (n === graph.numSources) return { ...common, feature: 0, layer: String(graph.layers + 1), ctx_idx: graph.heads, feature_type: "logit", token_prob: 1, is_target_logit: true, jsNodeId: `L_0-${graph.heads}`, clerp: 'Output "logits" (p=1.000)' };
      return { ...common, feature: pairing(graph.layer[n], column(n)), layer: String(graph.layer[n]), ctx_idx: column(n), feature_type: graph.head[n] < 0 ? "mlp" : "attention head", jsNodeId: `${graph.layer[n]}_${column(n)}-0`, clerp: name };
    };
    const groups = state.groups.map(([name, members]) => [name, ...members.map((member) => id(graph.index.get(member)))]);
    return JSON.stringify({
      metadata: { slug: tracerStem(model), scan: `mechshift-${exportName(model)}`, transcoder_list: [], prompt_tokens: columns, prompt: `${state.task}: ${columns.join(" ")}`, node_threshold: null, schema_version: 1 },
      qParams: { pinnedIds: state.pinned.map((name) => graph.index.get(name)).filter((n) => used.has(n)).map(id), supernodes: groups, linkType: "both", clickedId: state.node && used.has(graph.index.get(state.node)) ? id(graph.index.get(state.node)) : "", sg_pos: "" },
      nodes: [...used].sort((a, b) => a - b).map(node),
      links: [...weights].map(([key, weight]) => ({ source: id(Number(key.split(" ")[0])), target: id(Number(key.split(" ")[1])), weight })),
    }, null, 1) + "\n";
  }

  // circuit-tracer looks for the graph of a slug in SLUG.json.
  const tracerStem = (model) => `${fileStem()}-${exportName(model)}-circuit-tracer`;

  // Whose scores a file holds: "mdm", or "diffusion-step-64" for a checkpoint in its place.
  function exportName(model) {
    if (model === "arm" || !state.checkpoint) return model;
    const { training, step } = current.values.checkpoints[state.checkpoint - 1];
    return `${training.replace(/[^A-Za-z0-9]+/g, "-").replace(/-$/, "")}-step-${step}`;
  }

  function fileStem() {
    return `${state.task.replace(/[^A-Za-z0-9_]+/g, "-").replace(/^-|-$/g, "") || "task"}-explorer`;
  }

  function download(name, content, type) {
    const link = make("a", { download: name });
    link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // The same picture as the SVG's, drawn twice as fine.
  function pngBlob() {
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => {
        const canvas = make("canvas", { width: 2000, height: 1520 });
        canvas.getContext("2d").drawImage(image, 0, 0, 2000, 1520);
        canvas.toBlob(resolve, "image/png");
      };
      image.onerror = () => reject(new Error("this browser cannot draw the picture; export SVG."));
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText())}`;
    });
  }

  async function exportAs(format) {
    const model = byId("ex-export-model").value;
    const stem = fileStem();
    try {
      if (format === "svg") download(`${stem}.svg`, svgText(), "image/svg+xml");
      if (format === "png") download(`${stem}.png`, await pngBlob());
      if (format === "graphml") download(`${stem}-${exportName(model)}.graphml`, graphmlText(model), "application/xml");
      if (format === "mib") download(`${stem}-${exportName(model)}.json`, mibText(model), "application/json");
      if (format === "tracer") download(`${tracerStem(model)}.json`, tracerText(model), "application/json");
      say("");
    } catch (error) {
      say(error.message);
    }
  }

  // -------------------------------------------------------------------------------------- wiring

  function say(text) {
    byId("ex-message").textContent = text;
    byId("ex-message").hidden = !text;
  }

  const SLIDER = 1000;
  const toSize = (place) => Math.round(Math.exp((place / SLIDER) * Math.log(largestSize(current, state))));
  const toPlace = (k) => Math.round((SLIDER * Math.log(k)) / Math.max(1e-9, Math.log(largestSize(current, state))));

  function showControls() {
    const most = largestSize(current, state);
    byId("ex-task").value = state.task;
    const slider = byId("ex-k");
    if (toSize(Number(slider.value)) !== state.k) slider.value = String(toPlace(state.k));
    slider.setAttribute("aria-valuetext", `${state.k} edges`);
    byId("ex-k-number").value = String(state.k);
    byId("ex-k-number").max = String(most);
    const steps = numSteps(current);
    byId("ex-step").max = String(steps);
    byId("ex-step").disabled = steps === 0;
    byId("ex-step").value = String(state.step);
    const at = state.step ? `${state.step} of ${steps}, in ${current.values.stepExamples[state.step - 1]} examples` : steps ? "sum over all" : "there is one";
    byId("ex-step-text").textContent = at;
    byId("ex-step").setAttribute("aria-valuetext", at);
    const { checkpoints } = current.values;
    byId("ex-checkpoint-field").hidden = checkpoints.length === 0;
    byId("ex-checkpoint").max = String(checkpoints.length);
    byId("ex-checkpoint").value = String(state.checkpoint);
    const reached = state.checkpoint ? checkpointText(current, state.checkpoint) : "the MDM";
    byId("ex-checkpoint-text").textContent = reached;
    byId("ex-checkpoint").setAttribute("aria-valuetext", reached);
    byId("ex-name-mdm").textContent = className("mdm", state);
    for (const of of CLASSES) byId(`ex-show-${of}`).checked = state.show.includes(of);
    byId("ex-sign").value = state.sign;
    byId("ex-between").value = state.between;
    const layers = [byId("ex-layer-from"), byId("ex-layer-to")];
    layers.forEach((input, i) => {
      input.min = "-1";
      input.max = String(current.graph.layers);
      input.value = String(state.layers[i]);
    });
    byId("ex-stable").value = String(state.stable);
    byId("ex-stable").disabled = !current.values.resamples;
    byId("ex-least").value = String(state.least);
    for (const box of byId("ex-kinds").querySelectorAll("input")) box.checked = state.kinds.includes(box.value);
    if (byId("ex-note").value !== state.note) byId("ex-note").value = state.note;
    const blank = blankState(current);
    const setFilters = FILTERS.filter((name) => JSON.stringify(state[name]) !== JSON.stringify(blank[name])).length;
    byId("ex-filters-set").textContent = setFilters ? `${setFilters} set` : "";
  }

  function showCounts() {
    const { choice } = view;
    const inCircuits = choice.circuits.arm + choice.circuits.mdm + choice.circuits.both;
    for (const of of CLASSES) byId(`ex-count-${of}`).textContent = thousands(choice.drawn[of].length);
    const shared = inCircuits ? percent(choice.circuits.both / inCircuits) : "–";
    byId("ex-status").textContent = `K = ${thousands(state.k)}: ${thousands(choice.count)} of ${thousands(inCircuits)} edges drawn; the circuits share ${thousands(choice.circuits.both)} (${shared} of both, Jaccard, sampling noise included).`;
    stage.dataset.drawn = String(choice.count);
    for (const of of CLASSES) stage.dataset[of] = String(choice.drawn[of].length);
  }

  let waiting = null;

  // Drawn at the next frame: a slider tells of more places than a screen can show.
  function refresh() {
    if (waiting !== null) return;
    waiting = requestAnimationFrame(() => {
      waiting = null;
      render();
    });
  }

  function render() {
    const start = performance.now();
    view = arrange(current, state, stage.clientWidth, stage.clientHeight);
    hovered = null;
    paint(false);
    showControls();
    showCounts();
    fillPanel();
    fillKept();
    stage.dataset.milliseconds = (performance.now() - start).toFixed(1);
    remember();
  }

  let remembering = null;

  // Browsers refuse an address that changes too often, so it waits until a slider rests.
  function remember() {
    clearTimeout(remembering);
    remembering = setTimeout(() => {
      if (touched) mechshift.keep(toText(current, state), working ? "explorer" : "");
      working = false;
      stage.dataset.remembered = location.hash;
    }, REST);
  }

  let touched = false;
  let working = false; // Whether the reader has set something since the address was written.

  function set(change, { reveal } = {}) {
    touched = working = true;
    stage.dataset.remembered = "";
    state = { ...state, ...change };
    state.k = Math.max(1, Math.min(state.k, largestSize(current, state)));
    if ("node" in change) { all = { into: false, out: false }; chosenGroup = null; }
    refresh();
    if (reveal) {
      requestAnimationFrame(() => requestAnimationFrame(() => {
        const part = byId(reveal);
        if (part) byId("ex-panel").scrollTo({ top: 0 });
        if (part) part.focus({ preventScroll: window.innerWidth > 900 });
      }));
    }
  }

  function toggled(list, name) {
    return list.includes(name) ? list.filter((one) => one !== name) : [...list, name];
  }

  function togglePin(name) { set({ pinned: toggled(state.pinned, name) }); }

  function toggleHidden(name) { set({ hidden: toggled(state.hidden, name) }); }

  function group(given) {
    const name = given.trim() || `group ${state.groups.length + 1}`;
    const free = state.pinned.filter((one) => !state.groups.some(([, nodes]) => nodes.includes(one)) && one !== "input" && one !== "logits");
    if (free.length < 2) { say("Pin at least two heads or MLPs that are in no group yet."); return; }
    say("");
    set({ groups: [...state.groups, [name, free]] });
  }

  function ungroup(g) {
    chosenGroup = null;
    set({ groups: state.groups.filter((one, place) => place !== g) });
  }

  function search(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) { say(""); return; }
    const names = current.graph.names;
    const exact = names.find((name) => name === wanted);
    const labelled = Object.keys(state.labels).find((name) => state.labels[name].toLowerCase().includes(wanted));
    const name = exact || labelled;
    const edge = [...current.edgeIndex.keys()].find((one) => one.toLowerCase() === wanted);
    if (!name && !edge) {
      say(`No node “${text.trim()}”. Heads are written a0.h0 to a${current.graph.layers - 1}.h${current.graph.heads - 1}, MLPs m0 to m${current.graph.layers - 1}; also input, logits, edges as a0.h0->m1, and your labels.`);
      return;
    }
    say("");
    if (name) set({ node: name, edge: "" });
    else set({ edge });
  }

  // The nearest node in a direction, from the selected one or from the input.
  function step(dx, dy) {
    const { graph } = current;
    const from = state.node ? graph.index.get(state.node) : null;
    if (from === null) { set({ node: "input", edge: "" }); return; }
    let best = null;
    let least = Infinity;
    for (let n = 0; n < graph.names.length; n++) {
      if (n === from || isGone(view, n)) continue;
      const x = graph.x[n] - graph.x[from];
      const y = graph.y[n] - graph.y[from];
      const along = x * dx + y * dy;
      if (along <= 0.01) continue;
      const distance = along + 3 * Math.abs(x * dy - y * dx);
      if (distance < least) [best, least] = [n, distance];
    }
    if (best !== null) set({ node: graph.names[best], edge: "" });
  }

  function pressed(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) step(...moves[event.key]);
    else if (event.key === "Enter" && state.node) togglePin(state.node);
    else if (event.key.toLowerCase() === "h" && state.node) toggleHidden(state.node);
    else if (event.key === "Escape") set({ node: "", edge: "" });
    else return;
    event.preventDefault();
  }

  function place(event) {
    const box = markCanvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  function hover(event) {
    const tip = byId("ex-tip");
    const at = view && event.pointerType !== "touch" ? found(...place(event)) : null;
    const changed = JSON.stringify(at) !== JSON.stringify(hovered);
    hovered = at;
    markCanvas.style.cursor = at ? "pointer" : "default";
    tip.hidden = !at;
    if (at) {
      const [x, y] = place(event);
      if (at.node !== undefined) {
        tip.textContent = `${label(view, at.node)}: ${MODELS.map((model) => `${modelName(model, state)} ${percent(view.shares[model][at.node])}`).join(", ")} of the score`;
      } else {
        const { arm, mdm } = scoresOf(view.choice, at.edge);
        tip.textContent = `${edgeName(current, at.edge)}: ARM ${number(arm, true)}, ${modelName("mdm", state)} ${number(mdm, true)}`;
      }
      tip.style.left = `${Math.max(4, Math.min(stage.clientWidth - tip.offsetWidth - 4, x + 14))}px`;
      tip.style.top = `${Math.max(4, Math.min(stage.clientHeight - tip.offsetHeight - 4, y + 14))}px`;
    }
    if (changed) paintMarks(false);
  }

  function clicked(event) {
    if (event.defaultPrevented || !view) return;
    const at = found(...place(event));
    if (!at) { chosenGroup = null; set({ node: "", edge: "" }); return; }
    if (at.edge !== undefined) { set({ edge: edgeName(current, at.edge) }); return; }
    const names = current.graph.names;
    if (at.node < names.length) set({ node: names[at.node], edge: "" });
    else {
      set({ node: "", edge: "" });
      chosenGroup = at.node - names.length;
    }
  }

  const zoom = d3.zoom().scaleExtent([1, 12])
    // A wheel or a finger alone scrolls the page.
    .filter((event) => (event.type === "wheel" ? event.ctrlKey || event.metaKey : event.touches ? event.touches.length > 1 : !event.button))
    .on("zoom", (event) => {
      transform = event.transform;
      requestAnimationFrame(() => paint(false));
    });

  const tasks = new Map(); // Task -> a promise of what is read of it.

  function readOnce(name) {
    if (!tasks.has(name)) {
      const element = [...document.querySelectorAll(".explorer-data")].find((one) => one.dataset.task === name);
      tasks.set(name, unpack(element).then((content) => {
        const task = readTask(content);
        task.edgeIndex = new Map(d3.range(task.count).map((e) => [edgeName(task, e), e]));
        return task;
      }));
    }
    return tasks.get(name);
  }

  // Open a task, with a state that the reader gave or that of the task before.
  async function open(name, given) {
    const names = [...byId("ex-task").options].map((option) => option.value);
    const known = names.includes(name);
    const task = await readOnce(known ? name : names[0]);
    if (task !== current) {
      current = task;
      byId("ex-nodes").replaceChildren(...task.graph.names.map((one) => make("option", { value: one })));
      byId("ex-edges").dataset.edges = String(task.count);
    }
    stage.dataset.remembered = "";
    const checked = checkedState(task, given);
    if (name !== undefined && !known) checked.odd.unshift("task");
    state = checked.state;
    say(checked.odd.length ? `Not known in this task, so left out: ${[...new Set(checked.odd)].join(", ")}.` : "");
    render();
    root.dataset.explorer = state.task;
  }

  function failed(error) {
    byId("ex-status").textContent = typeof DecompressionStream === "undefined"
      ? "This browser is too old for the explorer; it needs one from 2023 or later." : `The explorer could not be opened: ${error.message}`;
  }

  let opened = false;

  function start() {
    if (opened) return;
    opened = true;
    const given = fromHash(location.hash);
    touched = given !== null;
    open(given ? given.task : undefined, given || {}).catch(failed);
  }

  function changed(id, event, change) {
    byId(id).addEventListener(event, () => {
      if (!current) return;
      const made = change(byId(id));
      if (made) set(made);
      else showControls();
    });
  }

  const within = (value, low, high) => Number.isFinite(value) && value >= low && value <= high;

  changed("ex-k", "input", (input) => ({ k: toSize(Number(input.value)) }));
  changed("ex-k-number", "change", (input) => (Number(input.value) >= 1 ? { k: Math.round(Number(input.value)) } : null));
  changed("ex-step", "input", (input) => ({ step: Number(input.value), checkpoint: 0 }));
  changed("ex-checkpoint", "input", (input) => ({ checkpoint: Number(input.value), step: 0 }));
  for (const of of CLASSES) changed(`ex-show-${of}`, "change", () => ({ show: CLASSES.filter((one) => byId(`ex-show-${one}`).checked) }));
  changed("ex-sign", "change", (input) => ({ sign: input.value }));
  changed("ex-between", "change", (input) => ({ between: input.value }));
  for (const [id, which] of [["ex-layer-from", 0], ["ex-layer-to", 1]]) {
    changed(id, "change", (input) => {
      const layers = state.layers.slice();
      layers[which] = Math.round(Number(input.value));
      return input.value !== "" && within(layers[which], -1, current.graph.layers) ? { layers } : null;
    });
  }
  changed("ex-stable", "change", (input) => (within(Number(input.value), 0, 100) ? { stable: Number(input.value) } : null));
  changed("ex-least", "change", (input) => (within(Number(input.value), 0, Infinity) ? { least: Number(input.value) } : null));
  changed("ex-note", "input", (input) => ({ note: input.value }));
  byId("ex-kinds").addEventListener("change", () => {
    set({ kinds: KINDS.filter((kind) => byId("ex-kinds").querySelector(`input[value="${kind}"]`).checked) });
  });
  byId("ex-reset").addEventListener("click", () => {
    const blank = blankState(current);
    set(Object.fromEntries(FILTERS.map((name) => [name, blank[name]])));
  });
  byId("ex-search").addEventListener("change", (event) => { if (current) search(event.target.value); });
  byId("ex-task").addEventListener("change", (event) => {
    // What can be carried over is: nodes and filters of a pair mean the same in every task.
    touched = working = true;
    const { edge, step: at, checkpoint, ...kept } = state;
    open(event.target.value, kept).then(() => { if (state.k !== kept.k) say(""); }, failed);
  });
  for (const link of document.querySelectorAll(".open-explorer")) {
    link.addEventListener("click", () => {
      opened = touched = working = true;
      const kept = state ? { k: state.k, pinned: state.pinned, hidden: state.hidden, groups: state.groups, labels: state.labels, note: state.note } : {};
      open(link.dataset.task, kept).catch(failed);
    });
  }
  markCanvas.addEventListener("keydown", pressed);
  markCanvas.addEventListener("pointermove", hover);
  markCanvas.addEventListener("pointerleave", () => {
    hovered = null;
    byId("ex-tip").hidden = true;
    if (view) paintMarks(false);
  });
  markCanvas.addEventListener("click", clicked);
  const target = d3.select(markCanvas).call(zoom).on("dblclick.zoom", null);
  byId("ex-zoom-in").addEventListener("click", () => target.call(zoom.scaleBy, 1.6));
  byId("ex-zoom-out").addEventListener("click", () => target.call(zoom.scaleBy, 1 / 1.6));
  byId("ex-zoom-reset").addEventListener("click", () => target.call(zoom.transform, d3.zoomIdentity));
  for (const one of document.querySelectorAll("[data-export]")) one.addEventListener("click", () => exportAs(one.dataset.export));
  byId("ex-save").addEventListener("click", () => {
    download(`${fileStem()}.json`, JSON.stringify({ format: FILE_FORMAT, version: FILE_VERSION, pair: card.dataset.pair, state }, null, 2) + "\n", "application/json");
  });
  byId("ex-load").addEventListener("click", () => byId("ex-file").click());
  byId("ex-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    let content = null;
    try { content = JSON.parse(await file.text()); } catch { content = null; }
    const isOurs = content && content.format === FILE_FORMAT && content.version === FILE_VERSION && content.state !== null && typeof content.state === "object";
    if (!isOurs) { say(`${file.name} is no file of the explorer (format “${FILE_FORMAT}”, version ${FILE_VERSION}).`); return; }
    touched = working = true;
    open(content.state.task, content.state).catch(failed);
  });
  byId("ex-copy").addEventListener("click", () => {
    const address = location.href.split("#")[0] + toHash(current, state);
    navigator.clipboard.writeText(address).then(() => say("The link is copied."), () => say(`Copy the address of this page: ${address}`));
  });
  window.addEventListener("hashchange", () => {
    const given = fromHash(location.hash);
    if (!given) return;
    opened = touched = true;
    if (!current || toText(current, state) !== location.hash.slice(location.hash.indexOf("?") + 1)) open(given.task, given).catch(failed);
  });
  new MutationObserver(() => paint(false)).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint(false));
  window.addEventListener("beforeprint", () => paint(true));
  window.addEventListener("afterprint", () => paint(false));
  new ResizeObserver(() => { if (view && stage.clientWidth) refresh(); }).observe(stage);
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      observer.disconnect();
      start();
    }
  }, { rootMargin: "600px" }).observe(byId("explorer"));
  if (location.hash.startsWith("#explorer?")) start();
})();
