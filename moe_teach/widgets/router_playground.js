// Browser half of `router_playground.py`. Every name read with model.get is a trait there.
//
// The first part is the routing rule and the layout as pure functions, which node tests; the
// second part draws. The rule is that of `moe_teach.nn.router.Router`: scores from the logits,
// choice by score + bias, gates from the scores alone.

const MOST = 8; // experts: one colour of the theme each, and one bit in a region's set
const EXTENT = 2; // the plane shows [-2, 2] x [-2, 2]
const SIZE = 400; // its side in the units of the drawing
const GRID = 200; // routed points per side of the picture
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

/** What decides who is chosen, written into `out`: score + bias, or logit + bias. */
function selectInto(out, logits, { expertBias, scoreFn, topkFirst }) {
  const n = logits.length;
  if (topkFirst) {
    for (let e = 0; e < n; e++) out[e] = logits[e] + expertBias[e];
  } else if (scoreFn === "sigmoid") {
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
    + " the gates do not contain it.");
  if (isNoisy(state)) words.push(`Training noise, draw ${state.seed}.`);
  return words.join(" ");
}

// ---- drawing ----------------------------------------------------------------------------------

const NAMESPACE = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
}
const make = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(NAMESPACE, tag), attributes, children);

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

function slider(label, [min, max, step], show, onInput) {
  const input = make("input", { type: "range", min, max, step, "aria-label": label });
  const value = make("output");
  input.addEventListener("input", () => onInput(Number(input.value)));
  return {
    node: make("label", { class: "field" }, make("span", {}, label), value, input),
    update(position, words = show(position)) {
      input.value = position;
      input.setAttribute("aria-valuetext", words);
      value.textContent = words;
    },
  };
}

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
  const temperature = slider("temperature", [-3, 3, 0.1], String,
    (power) => change({ temperature: round(2 ** power) }));
  const noise = slider("noise on the logits", [0, 2, 0.05], (v) => v.toFixed(2),
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
