// Browser half of `router_playground.py`. Every name read with model.get is a trait there.
//
// The first part is the routing rule and the layout as pure functions, which node tests; the
// second part draws. The rule is that of `moe_teach.nn.router.Router`: scores from the logits,
// choice by score + bias, gates from the scores alone.

import { draw, make, mount, oncePerFrame, save, slider } from "./drawing.js";

const MOST = 8; // experts: one colour of the theme each, and one bit in a region's set
const EXTENT = 2; // the plane shows [-2, 2] x [-2, 2]
const SIZE = 400; // its side in the units of the drawing
const GRID = SIZE / 2; // routed points per side of the picture, twice as many along borders
const COARSE = 4; // every so many of them decide where the labels stand

export const RULES = [
  { name: "softmax → top-k", scoreFn: "softmax", topkFirst: false, normalizeGates: false },
  { name: "softmax → top-k → renormalise", scoreFn: "softmax", topkFirst: false, normalizeGates: true },
  { name: "top-k → softmax", scoreFn: "softmax", topkFirst: true, normalizeGates: true },
  { name: "sigmoid → top-k", scoreFn: "sigmoid", topkFirst: false, normalizeGates: false },
  { name: "sigmoid → top-k → renormalise", scoreFn: "sigmoid", topkFirst: false, normalizeGates: true },
];

const sum = (values) => values.reduce((total, value) => total + value, 0);

function softmax(logits) {
  const peak = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - peak));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

const sigmoid = (logits) => logits.map((logit) => 1 / (1 + Math.exp(-logit)));

/** The k largest, best first; of equal values the lower index comes first, as in the library. */
export function topK(values, k) {
  return values.map((_, index) => index).sort((a, b) => values[b] - values[a] || a - b).slice(0, k);
}

/** A small seeded generator of uniform numbers (mulberry32): the same seed, the same picture. */
export function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** `count` standard normal numbers from a seed (Box and Muller). */
export function normals(seed, count) {
  const next = uniform(seed);
  return Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
}

/** Logits of a point: its product with every expert vector, over the temperature. */
export function logitsOf(state, point = state.token) {
  return state.experts.map(([x, y]) => (x * point[0] + y * point[1]) / state.temperature);
}

/** Noise acts in training only, as in the library. */
export const isNoisy = (state) => state.training && state.noise > 0;

/** The noise the token itself meets: one number per expert, fixed by the seed. */
export function tokenNoise(state) {
  if (!isNoisy(state)) return state.experts.map(() => 0);
  return normals(state.seed, state.experts.length).map((draw) => draw * state.noise);
}

/** What decides who is chosen, written into `out`: score + bias, whatever the gates will be. */
function selectInto(out, logits, { expertBias, scoreFn }) {
  const n = logits.length;
  if (scoreFn === "sigmoid") {
    for (let e = 0; e < n; e++) out[e] = 1 / (1 + Math.exp(-logits[e])) + expertBias[e];
  } else {
    let [peak, total] = [-Infinity, 0];
    for (let e = 0; e < n; e++) peak = Math.max(peak, logits[e]);
    for (let e = 0; e < n; e++) total += out[e] = Math.exp(logits[e] - peak);
    for (let e = 0; e < n; e++) out[e] = out[e] / total + expertBias[e];
  }
  return out;
}

/**
 * Route one vector of logits.
 *
 * `selection` decides who is chosen and includes the bias; `gates` never do. `margin` is the
 * distance in `selection` between the last chosen and the first left out (null when all are).
 */
export function route(logits, state) {
  const { topK: k, scoreFn, topkFirst, normalizeGates } = state;
  const scores = scoreFn === "sigmoid" ? sigmoid(logits) : softmax(logits);
  const selection = selectInto([], logits, state);
  const order = topK(selection, logits.length);
  const expertIds = order.slice(0, k);
  let gates = expertIds.map((e) => scores[e]);
  if (topkFirst) gates = softmax(expertIds.map((e) => logits[e]));
  else if (normalizeGates) gates = gates.map((gate) => gate / sum(expertIds.map((e) => scores[e])));
  const margin = k < order.length ? selection[order[k - 1]] - selection[order[k]] : null;
  return { scores, selection, order, expertIds, gates, margin };
}

/**
 * How strongly the gates answer to the logits: the Frobenius norm of d gates / d logits.
 *
 * Zero means that no loss on the layer's output can move the router through this token.
 */
export function gateSlope(logits, state) {
  const { scores, expertIds, gates } = route(logits, state);
  const relative = state.topkFirst || state.normalizeGates;
  const slope = (gate, i, e) => {
    if (state.scoreFn === "softmax" && !relative) return gate * ((i === e) - scores[e]);
    const rank = expertIds.indexOf(e);
    if (rank < 0) return 0;
    if (!relative) return (i === e) * gate * (1 - scores[e]);
    const own = state.scoreFn === "softmax" ? gates[rank] : gates[rank] * (1 - scores[e]);
    return own * ((i === e) - gate);
  };
  const squares = gates.flatMap((gate, rank) =>
    logits.map((_, e) => slope(gate, expertIds[rank], e) ** 2));
  return Math.sqrt(sum(squares));
}

/** The five gate rules on the same token. */
export function compareRules(state) {
  const noise = tokenNoise(state);
  const logits = logitsOf(state).map((logit, e) => logit + noise[e]);
  return RULES.map((rule) => {
    const ruled = { ...state, ...rule };
    const { expertIds, gates } = route(logits, ruled);
    return { ...rule, expertIds, gates, total: sum(gates), slope: gateSlope(logits, ruled) };
  });
}

/** What the whole width of the rules' bars stands for: the largest sum of gates, at least 1. */
export const longest = (results) => Math.max(1, ...results.map(({ total }) => total));

/** Which of `RULES` the traits describe; top-k first renormalises by nature. */
export function ruleIndex({ scoreFn, topkFirst, normalizeGates }) {
  return RULES.findIndex((rule) => rule.scoreFn === scoreFn && rule.topkFirst === topkFirst
    && (topkFirst || rule.normalizeGates === normalizeGates));
}

/** How often each expert is chosen when the token draws its noise `draws` times. */
export function chosenShare(state, draws = 400) {
  const logits = logitsOf(state);
  const noise = normals(state.seed + 1, draws * logits.length);
  const counts = logits.map(() => 0);
  for (let draw = 0; draw < draws; draw++) {
    const noisy = logits.map((l, e) => l + state.noise * noise[draw * logits.length + e]);
    route(noisy, state).expertIds.forEach((e) => { counts[e] += 1; });
  }
  return counts.map((count) => count / draws);
}

/** The point of the plane in the middle of grid cell (column, row); y grows upwards. */
export function pointOf(column, row, grid) {
  const step = (2 * EXTENT) / grid;
  return [-EXTENT + (column + 0.5) * step, EXTENT - (row + 0.5) * step];
}

/** The k largest as a set of bits; of equal values the lower index wins, as in `topK`. */
function chosenBits(selection, k) {
  let bits = 0;
  for (let pick = 0; pick < k; pick++) {
    let best = -1;
    for (let e = 0; e < selection.length; e++) {
      if (!(bits & (1 << e)) && (best < 0 || selection[e] > selection[best])) best = e;
    }
    bits |= 1 << best;
  }
  return bits;
}

/**
 * Route a grid of points: one bit set per cell (bit e: expert e is chosen), row by row.
 *
 * With `noise` every cell is a token of its own and meets its own noise.
 */
export function regions(state, grid = GRID, noise = null) {
  const n = state.experts.length;
  const sets = new Uint16Array(grid * grid);
  const [logits, selection] = [new Float64Array(n), new Float64Array(n)];
  for (let cell = 0; cell < sets.length; cell++) {
    const [x, y] = pointOf(cell % grid, Math.floor(cell / grid), grid);
    for (let e = 0; e < n; e++) {
      logits[e] = (state.experts[e][0] * x + state.experts[e][1] * y) / state.temperature;
      if (noise) logits[e] += state.noise * noise[cell * n + e];
    }
    sets[cell] = chosenBits(selectInto(selection, logits, state), state.topK);
  }
  return sets;
}

/** The same picture with twice the cells a side: only those beside a border are routed again. */
export function refined(state, sets, grid) {
  const fine = 2 * grid;
  const finer = new Uint16Array(fine * fine);
  const selection = new Float64Array(state.experts.length);
  const routed = (column, row) =>
    chosenBits(selectInto(selection, logitsOf(state, pointOf(column, row, fine)), state), state.topK);
  for (let cell = 0; cell < sets.length; cell++) {
    const column = cell % grid;
    const row = (cell - column) / grid;
    const set = sets[cell];
    const isBeside = (column > 0 && sets[cell - 1] !== set) || (column + 1 < grid && sets[cell + 1] !== set)
      || (row > 0 && sets[cell - grid] !== set) || (row + 1 < grid && sets[cell + grid] !== set);
    for (let r = 2 * row; r < 2 * row + 2; r++) {
      for (let c = 2 * column; c < 2 * column + 2; c++) finer[r * fine + c] = isBeside ? routed(c, r) : set;
    }
  }
  return finer;
}

/** The experts in a set of bits, in ascending order. */
export const members = (set) => Array.from({ length: MOST }, (_, e) => e).filter((e) => set & (1 << e));

/** For each region (set of bits, not 0), the cell furthest from its edge and how far, in cells. */
export function labelSpots(sets, grid) {
  const depth = new Uint16Array(sets.length);
  const at = (c, r, set) =>
    c < 0 || r < 0 || c >= grid || r >= grid || sets[r * grid + c] !== set ? 0 : depth[r * grid + c];
  const sweep = (cells, dc, dr, first) => cells.forEach((cell) => {
    const [c, r, set] = [cell % grid, Math.floor(cell / grid), sets[cell]];
    const near = 1 + Math.min(at(c - dc, r, set), at(c, r - dr, set),
      at(c - dc, r - dr, set), at(c + dc, r - dr, set));
    depth[cell] = first ? near : Math.min(depth[cell], near);
  });
  const cells = Array.from(sets.keys());
  sweep(cells, 1, 1, true);
  sweep(cells.reverse(), -1, -1, false);
  const best = new Map();
  sets.forEach((set, cell) => {
    if (set && depth[cell] > (best.get(set)?.depth ?? 0)) best.set(set, { set, cell, depth: depth[cell] });
  });
  return [...best.values()].map((spot) => ({
    ...spot, column: spot.cell % grid, row: Math.floor(spot.cell / grid),
  }));
}

const list = (words) =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

/** The state in words, for the line under the controls and for screen readers. */
export function sentence(state) {
  const noise = tokenNoise(state);
  const { expertIds, gates, order, scores, margin } =
    route(logitsOf(state).map((logit, e) => logit + noise[e]), state);
  const parts = expertIds.map((e, rank) => `expert ${e} (gate ${gates[rank].toFixed(2)})`);
  const words = [`The token goes to ${list(parts)}; the gates sum to ${sum(gates).toFixed(2)}.`];
  if (margin === null) words.push("Every expert is chosen, so there is no tie to fear.");
  else words.push(`Expert ${order[state.topK]} stays out by a margin of ${margin.toFixed(3)}`
    + `${margin < 0.01 ? ": close to a tie" : ""}.`);
  const byScore = topK(scores, state.topK);
  const moved = expertIds.filter((e) => !byScore.includes(e));
  if (moved.length) words.push(`Only the bias brings in expert ${list(moved.map(String))};`
    + " no gate contains a bias.");
  if (isNoisy(state)) words.push(`Training noise, draw ${state.seed}.`);
  return words.join(" ");
}

// ---- drawing ----------------------------------------------------------------------------------

const toPicture = ([x, y]) => [((x + EXTENT) / (2 * EXTENT)) * SIZE, ((EXTENT - y) / (2 * EXTENT)) * SIZE];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const round = (value) => Math.round(value * 1000) / 1000;
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

/** The traits as one plain object. */
const read = (model) => ({
  token: model.get("token"),
  experts: model.get("experts"),
  expertBias: model.get("expert_bias"),
  temperature: model.get("temperature"),
  noise: model.get("noise"),
  seed: model.get("seed"),
  training: model.get("training"),
  topK: model.get("top_k"),
  scoreFn: model.get("score_fn"),
  topkFirst: model.get("topk_first"),
  normalizeGates: model.get("normalize_gates"),
});
const TRAITS = {
  token: "token", experts: "experts", expertBias: "expert_bias", temperature: "temperature",
  noise: "noise", seed: "seed", training: "training", topK: "top_k", scoreFn: "score_fn",
  topkFirst: "topk_first", normalizeGates: "normalize_gates",
};

/** Buttons 1 .. n, of which one is pressed. */
function stepper(label, onPick) {
  const box = make("span", { class: "choices", role: "group", "aria-label": label });
  return {
    node: make("div", { class: "field" }, make("span", {}, label), box),
    update(value, count) {
      while (box.children.length > count) box.lastChild.remove();
      while (box.children.length < count) {
        const number = box.children.length + 1;
        const button = make("button", { type: "button" }, String(number));
        button.addEventListener("click", () => onPick(number));
        box.append(button);
      }
      [...box.children].forEach((button, i) => button.setAttribute("aria-pressed", i + 1 === value));
    },
  };
}

function buildControls(change, reset) {
  const k = stepper("experts per token (k)", (topK) => change({ topK }));
  const temperature = slider("temperature", { min: -3, max: 3, step: 0.1 },
    (power) => change({ temperature: round(2 ** power) }));
  const noise = slider("noise on the logits", { min: 0, max: 2, step: 0.05 },
    (value) => change({ noise: value }));
  const training = make("input", { type: "checkbox", role: "switch" });
  training.addEventListener("change", () => change({ training: training.checked }));
  const again = make("button", { type: "button" }, "draw again");
  again.addEventListener("click", () => change((state) => ({ seed: state.seed + 1 })));
  const back = make("button", { type: "button" }, "reset");
  back.addEventListener("click", reset);
  const modes = make("div", { class: "modes" },
    make("label", { class: "switch" }, training, "training"), again, back);
  return {
    node: make("div", { class: "controls" }, k.node, temperature.node, noise.node, modes),
    update(state) {
      k.update(state.topK, state.experts.length);
      temperature.update(Math.log2(state.temperature), state.temperature.toFixed(2));
      noise.update(state.noise, state.training || !state.noise
        ? state.noise.toFixed(2) : `${state.noise.toFixed(2)}, asleep`);
      training.checked = state.training;
      again.disabled = !isNoisy(state);
    },
  };
}

/** A point of the plane that mouse, finger and arrow keys move. */
function handle(svg, name, mark, onMove) {
  const node = draw("g", {
    class: "handle", tabindex: 0, role: "slider", "aria-label": name,
    "aria-roledescription": "movable point", "aria-valuemin": -EXTENT, "aria-valuemax": EXTENT,
  }, draw("circle", { r: 22, class: "grip" }), ...mark);
  const moveTo = (x, y) => onMove([round(clamp(x, -EXTENT, EXTENT)), round(clamp(y, -EXTENT, EXTENT))]);
  let at = [0, 0];
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    node.focus({ preventScroll: true });
    event.preventDefault();
  });
  node.addEventListener("pointermove", (event) => {
    if (!node.hasPointerCapture(event.pointerId)) return;
    const box = svg.getBoundingClientRect();
    moveTo(((event.clientX - box.left) / box.width) * 2 * EXTENT - EXTENT,
      EXTENT - ((event.clientY - box.top) / box.height) * 2 * EXTENT);
  });
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  node.addEventListener("keydown", (event) => {
    if (!steps[event.key]) return;
    event.preventDefault();
    const size = event.shiftKey ? 0.25 : 0.05;
    moveTo(at[0] + steps[event.key][0] * size, at[1] + steps[event.key][1] * size);
  });
  return {
    node,
    update(point, isChosen) {
      at = point;
      node.setAttribute("transform", `translate(${toPicture(point).join(" ")})`);
      node.classList.toggle("chosen", isChosen);
      node.setAttribute("aria-valuenow", point[0]);
      node.setAttribute("aria-valuetext", `x ${point[0].toFixed(2)}, y ${point[1].toFixed(2)}`);
    },
  };
}

/** The experts' colours in the present theme, as [red, green, blue]. */
function themeColours(element) {
  // A custom property is handed out as it was written, light-dark() and all; only the value of a
  // real property is resolved, so a hidden element wears each colour for a moment.
  const probe = make("span", { hidden: "" });
  element.parentNode.append(probe);
  const colours = Array.from({ length: MOST }, (_, e) => {
    probe.style.color = `var(--expert-${e})`;
    return getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  });
  probe.remove();
  return colours;
}

/** Colour each pixel by its set: stripes of all its experts, and a line where the set changes. */
function paint(canvas, tinted, exact, colours) {
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(SIZE, SIZE);
  const scale = SIZE / GRID;
  const bySet = new Map();
  for (let pixel = 0; pixel < SIZE * SIZE; pixel++) {
    const [x, y] = [pixel % SIZE, Math.floor(pixel / SIZE)];
    const set = tinted[Math.floor(y / scale) * GRID + Math.floor(x / scale)];
    if (!bySet.has(set)) bySet.set(set, members(set));
    const experts = bySet.get(set);
    const [red, green, blue] = colours[experts[Math.floor((x + y) / 9) % experts.length]];
    const edge = (x + 1 < SIZE && exact[pixel + 1] !== exact[pixel])
      || (y + 1 < SIZE && exact[pixel + SIZE] !== exact[pixel]);
    image.data.set(edge ? [120, 120, 120, 255] : [red, green, blue, 84], pixel * 4);
  }
  pen.putImageData(image, 0, 0);
}

/** The regions on a coarse grid, with the surroundings of the handles cleared (0). */
function roomForLabels(sets, state) {
  const grid = GRID / COARSE;
  const room = new Uint16Array(grid * grid);
  const crowded = [state.token, ...state.experts];
  room.forEach((_, cell) => {
    const [column, row] = [cell % grid, Math.floor(cell / grid)];
    const [x, y] = pointOf(column, row, grid);
    if (crowded.some(([a, b]) => Math.hypot(a - x, b - y) < 0.2)) return;
    room[cell] = sets[(row * COARSE + COARSE / 2) * GRID + column * COARSE + COARSE / 2];
  });
  return labelSpots(room, grid).filter(({ depth }) => depth >= 3).map(({ set, column, row }) => {
    const [x, y] = toPicture(pointOf(column, row, grid));
    return draw("text", { x, y: y + 4, class: "region" }, members(set).join(" + "));
  });
}

function buildPlane(change) {
  const canvas = make("canvas", { width: SIZE, height: SIZE, "aria-hidden": "true" });
  const labels = draw("g", { "aria-hidden": "true" });
  const arrows = draw("g", { "aria-hidden": "true" });
  const handles = draw("g");
  const axes = draw("path", { class: "axes", d: `M0 ${SIZE / 2}H${SIZE}M${SIZE / 2} 0V${SIZE}` });
  const svg = draw("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "group",
    "aria-label": "The plane: move the token and the experts" }, axes, arrows, labels, handles);
  const token = handle(svg, "token", [
    draw("path", { class: "diamond", d: "M0 -10L10 0L0 10L-10 0Z" }),
    draw("text", { class: "name", y: -15 }, "token"),
  ], (point) => change({ token: point }));
  let experts = [];
  const expertHandle = (e) => handle(svg, `expert ${e}`, [
    draw("circle", { r: 12, class: "disc", style: `--hue: var(--expert-${e})` }),
    draw("text", { class: "digit", y: 5 }, String(e)),
  ], (point) => change((state) => ({ experts: state.experts.map((old, i) => (i === e ? point : old)) })));
  const noiseOf = cached((seed, n) => normals(seed + 2, GRID * GRID * n));
  return {
    node: make("div", { class: "plane" }, canvas, svg),
    update(state, { expertIds }) {
      if (experts.length !== state.experts.length) {
        experts = state.experts.map((_, e) => expertHandle(e));
        handles.replaceChildren(...experts.map(({ node }) => node), token.node);
      }
      token.update(state.token, false);
      experts.forEach((expert, e) => expert.update(state.experts[e], expertIds.includes(e)));
      arrows.replaceChildren(...state.experts.map((point, e) => {
        const [x2, y2] = toPicture(point);
        return draw("line", { x1: SIZE / 2, y1: SIZE / 2, x2, y2, style: `--hue: var(--expert-${e})`,
          class: expertIds.includes(e) ? "arrow chosen" : "arrow" });
      }));
      const exact = regions(state);
      const noisy = isNoisy(state) ? regions(state, GRID, noiseOf(state.seed, experts.length)) : exact;
      paint(canvas, noisy, refined(state, exact, GRID), themeColours(svg));
      labels.replaceChildren(...roomForLabels(exact, state));
    },
  };
}

/** Remember the last answer: the noise of the plane is drawn once per seed, not once per frame. */
function cached(compute) {
  let [key, answer] = [null, null];
  return (...values) => {
    if (key !== values.join()) [key, answer] = [values.join(), compute(...values)];
    return answer;
  };
}

/** One row per expert: its logit, its bias, the bar that chooses and the bar that mixes. */
function expertRow(e, change) {
  const cell = (name, ...children) => make("div", { class: name }, ...children);
  const logit = cell("number logit");
  const bias = slider(`bias of expert ${e}`, { min: -0.5, max: 0.5, step: 0.01 },
    (value) => change((state) => ({ expertBias: state.expertBias.map((old, i) => (i === e ? value : old)) })));
  const [score, shift, band] = [cell("bar score"), cell("bar shift"), cell("band")];
  const selection = cell("number");
  const [gate, weight] = [cell("bar gate"), cell("number")];
  const node = make("div", { class: "expert", style: `--hue: var(--expert-${e})` },
    cell("disc", String(e)), logit, bias.node,
    cell("choose", cell("track", band, score, shift), selection),
    cell("mix", cell("track", gate), weight));
  const place = (bar, from, to, [low, high]) => {
    const share = (value) => (100 * (value - low)) / (high - low);
    bar.style.left = `${share(Math.min(from, to))}%`;
    bar.style.width = `${Math.abs(share(to) - share(from))}%`;
  };
  return {
    node,
    update(state, routed, span) {
      const { logits, noise, ranked, selection: sel, expertIds, gates, order, share } = routed;
      const rank = expertIds.indexOf(e);
      node.classList.toggle("chosen", rank >= 0);
      logit.textContent = logits[e].toFixed(2);
      logit.title = noise[e] ? `of which noise ${signed(noise[e])}` : "";
      bias.update(state.expertBias[e], signed(state.expertBias[e]));
      place(score, 0, ranked[e], span);
      place(shift, ranked[e], sel[e], span);
      shift.classList.toggle("down", sel[e] < ranked[e]);
      selection.textContent = sel[e].toFixed(2);
      band.hidden = routed.margin === null;
      if (!band.hidden) place(band, sel[order[state.topK]], sel[order[state.topK - 1]], span);
      place(gate, 0, rank < 0 ? 0 : gates[rank], [0, 1]);
      const often = share ? ` · ${Math.round(100 * share[e])} %` : "";
      weight.textContent = (rank < 0 ? "—" : gates[rank].toFixed(2)) + often;
    },
  };
}

function buildRows(change) {
  const head = make("div", { class: "expert head", "aria-hidden": "true" });
  const body = make("div");
  const margin = make("p", { class: "margin" });
  let rows = [];
  return {
    node: make("div", { class: "experts" }, head, body, margin),
    update(state, routed) {
      if (rows.length !== state.experts.length) {
        rows = state.experts.map((_, e) => expertRow(e, change));
        body.replaceChildren(...rows.map(({ node }) => node));
      }
      const titles = ["", "logit", "bias", "1 choose: score + bias",
        routed.share ? "2 mix: gate · % of draws" : "2 mix: gate, no bias"];
      head.replaceChildren(...titles.map((title) => make("div", {}, title)));
      const ends = [0, ...routed.selection, ...routed.ranked];
      const span = [Math.min(...ends), Math.max(1, ...ends)];
      rows.forEach((row) => row.update(state, routed, span));
      margin.textContent = routed.margin === null ? "k = E: everyone is chosen, no margin."
        : `tie margin ${routed.margin.toFixed(3)}: from choice ${state.topK} `
          + `(expert ${routed.order[state.topK - 1]}) to the first left out (expert ${routed.order[state.topK]})`;
    },
  };
}

let groups = 0; // radio buttons of two widgets on one page must not share a name

function ruleRow(rule, group, change) {
  const radio = make("input", { type: "radio", name: group });
  radio.addEventListener("change", () => change(
    { scoreFn: rule.scoreFn, topkFirst: rule.topkFirst, normalizeGates: rule.normalizeGates }));
  const bar = make("span", { class: "stack", "aria-hidden": "true" });
  const [total, slope] = [make("span", { class: "number" }), make("span", { class: "slope" })];
  const name = make("span", { class: "rule" }, radio, rule.name);
  return {
    node: make("label", { class: "row" }, name, bar, total, slope),
    update({ expertIds, gates, total: gateSum, slope: size }, isOn, most) {
      radio.checked = isOn;
      bar.style.setProperty("--one", `${100 / most}%`);
      bar.replaceChildren(...expertIds.map((e, rank) => {
        const part = make("span", { style: `--hue: var(--expert-${e})` },
          gates[rank] / most > 0.12 ? `${e}: ${gates[rank].toFixed(2)}` : "");
        part.style.width = `${(100 * gates[rank]) / most}%`;
        return part;
      }));
      total.textContent = gateSum.toFixed(2);
      slope.textContent = size < 1e-9 ? "0 · cannot learn from the task" : size.toFixed(3);
      slope.classList.toggle("dead", size < 1e-9);
    },
  };
}

function buildRules(change) {
  const group = `moe-rule-${(groups += 1)}`;
  const rows = RULES.map((rule) => ruleRow(rule, group, change));
  const head = make("div", { class: "row head", "aria-hidden": "true" },
    ...["gate rule", "gates of this token (the line stands at 1)", "sum", "slope |∂gates/∂logits|"].map((title) => make("span", {}, title)));
  return {
    node: make("div", { class: "rules", role: "radiogroup", "aria-label": "gate rule" },
      head, ...rows.map(({ node }) => node)),
    update(state) {
      const [on, results] = [ruleIndex(state), compareRules(state)];
      const most = longest(results);
      results.forEach((result, i) => rows[i].update(result, i === on, most));
    },
  };
}

/** Everything the parts show, computed once per frame. */
function routeToken(state) {
  const noise = tokenNoise(state);
  const logits = logitsOf(state).map((logit, e) => logit + noise[e]);
  const routed = route(logits, state);
  const ranked = routed.selection.map((value, e) => value - state.expertBias[e]);
  return { ...routed, ranked, logits, noise, share: isNoisy(state) ? chosenShare(state) : null };
}

/** Call back when the page changes between light and dark; gives the function that stops it. */
function onTheme(callback) {
  const watcher = new MutationObserver(callback);
  const attributeFilter = [
    "class", "theme", "data-jp-theme-name", "data-theme", "data-md-color-scheme",
  ];
  const options = { attributes: true, attributeFilter };
  [document.body, document.documentElement].forEach((element) => watcher.observe(element, options));
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", callback);
  return () => {
    watcher.disconnect();
    system.removeEventListener("change", callback);
  };
}

function render({ model, el }) {
  const first = read(model);
  const change = (update) => save(model, typeof update === "function" ? update(read(model)) : update, TRAITS);
  const status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  const parts = [buildControls(change, () => change(first)), buildPlane(change), buildRows(change), buildRules(change)];
  const [controls, plane, rows, rules] = parts.map(({ node }) => node);
  const root = make("div", { class: "moe-widget moe-router-playground", role: "group",
    "aria-label": "Router playground" },
    make("div", { class: "body" }, controls, status, make("div", { class: "pair" }, plane, rows), rules));
  const update = () => {
    const state = read(model);
    const routed = routeToken(state);
    parts.forEach((part) => part.update(state, routed));
    status.textContent = sentence(state);
  };
  const { schedule, cancel } = oncePerFrame(update);
  const unmount = mount({ model, el }, root, Object.values(TRAITS), update, schedule);
  const stopTheme = onTheme(schedule);
  return () => {
    unmount();
    cancel();
    stopTheme();
  };
}

export default { render };
