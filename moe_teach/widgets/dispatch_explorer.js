// Browser half of `dispatch_explorer.py`: routing, capacity and drops as in moe_teach.ops, and
// their picture. Every name read with model.get is a trait there.

import { draw, make, mount, namedNumbers, oneOf, save, scrollBox, slider } from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

/** Uniform numbers in [0, 1) from a seed (a 32-bit mixing generator). */
function uniform(seed) {
  let state = (seed * 2654435761) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** The numbers 0 .. n-1 in an order that the seed fixes. */
export function shuffled(n, seed) {
  const draw = uniform(seed);
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(draw() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

function softmax(logits) {
  const peak = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - peak));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / total);
}

/** Everybody's choices and gates: as given, or routed again with the skewed logits. */
export function routed({ expertIds, gates, logits, skew }) {
  if (!skew) return { expertIds, gates };
  const topK = expertIds[0].length;
  const last = logits[0].length - 1;
  const rows = logits.map((row) => {
    const probs = softmax(row.map((logit, e) => logit + skew * (last ? 1 - e / last : 1)));
    const ids = probs.map((_, e) => e).sort((a, b) => probs[b] - probs[a] || a - b).slice(0, topK);
    const total = ids.reduce((sum, e) => sum + probs[e], 0);
    return { ids, gates: ids.map((e) => probs[e] / total) };
  });
  return { expertIds: rows.map(({ ids }) => ids), gates: rows.map((row) => row.gates) };
}

/** Places of one expert: ceil(factor * T * K / E), with the factor read as a decimal. */
export function capacityOf(nTokens, nExperts, topK, factor) {
  const millionths = Math.round(factor * 1e6);
  return Math.ceil((millionths * nTokens * topK) / (1e6 * nExperts));
}

/** Which token stands at each place of the batch. */
export function batchOrder({ order, seed, expertIds }) {
  const n = expertIds.length;
  if (order === "shuffled") return shuffled(n, seed + 1);
  const places = Array.from({ length: n }, (_, i) => i);
  return order === "reversed" ? places.reverse() : places;
}

/** The choices, numbered place * K + k, in the order in which they are served. */
function queueOf(gates, policy, seed) {
  const flat = gates.flat();
  if (policy === "random") return shuffled(flat.length, seed + 2);
  const queue = flat.map((_, choice) => choice);
  return policy === "by_gate" ? queue.sort((a, b) => flat[b] - flat[a] || a - b) : queue;
}

/**
 * Serve every choice: who gets a slot, who is dropped, what stays empty.
 *
 * `tokens[place]` is one place of the batch, `experts[e]` one expert's slots (null is padding) and
 * the choices it turned away; `quarters` is the share of choices lost by place in the batch.
 */
export function explore(state) {
  const { expertIds, gates } = routed(state);
  const [nTokens, topK, nExperts] = [expertIds.length, expertIds[0].length, state.logits[0].length];
  const capacity = capacityOf(nTokens, nExperts, topK, state.capacityFactor);
  const order = batchOrder(state);
  const tokens = order.map((token) => ({
    token, expertIds: expertIds[token], gates: gates[token], kept: Array(topK).fill(false),
  }));
  const experts = Array.from({ length: nExperts }, () => ({ slots: [], dropped: [] }));
  for (const choice of queueOf(tokens.map((row) => row.gates), state.policy, state.seed)) {
    const [place, k] = [Math.floor(choice / topK), choice % topK];
    const expert = experts[tokens[place].expertIds[k]];
    tokens[place].kept[k] = expert.slots.length < capacity;
    (tokens[place].kept[k] ? expert.slots : expert.dropped).push({ place, token: tokens[place].token, k });
  }
  experts.forEach(({ slots }) => { while (slots.length < capacity) slots.push(null); });
  return { tokens, experts, capacity, topK, ...totals(tokens, experts, capacity) };
}

function totals(tokens, experts, capacity) {
  const choices = tokens.flatMap(({ kept }) => kept);
  const kept = choices.filter(Boolean).length;
  const slots = experts.length * capacity;
  const quarters = [0, 1, 2, 3].map((q) => {
    const [from, to] = [q, q + 1].map((part) => Math.round((part * tokens.length) / 4));
    const own = tokens.slice(from, to).flatMap((token) => token.kept);
    return own.length ? own.filter((ok) => !ok).length / own.length : 0;
  });
  return {
    choices: choices.length, kept, dropped: choices.length - kept, slots, padded: slots - kept,
    orphans: tokens.filter((token) => !token.kept.includes(true)).length, quarters,
  };
}

// ---- words ------------------------------------------------------------------------------------

const percent = (share) => `${Math.round(100 * share)} %`;
const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

/** The state in words, for the line above the picture and for screen readers. */
export function sentence(state, result) {
  const { capacity, dropped, choices, padded, slots, orphans, tokens, quarters } = result;
  const words = [
    `Each expert has ${plural(capacity, "place")}: ${dropped} of ${choices} choices are dropped, `
      + `${padded} of ${slots} places are padding, computed for nobody.`,
  ];
  if (orphans) words.push(`${plural(orphans, "token")} reach${orphans === 1 ? "es" : ""} no expert at all.`);
  const worst = Math.max(...quarters);
  const place = ["first", "second", "third", "last"][quarters.lastIndexOf(worst)];
  if (dropped) words.push(`The ${place} quarter of the batch loses most: ${percent(worst)}.`);
  const followed = tokens.find(({ token }) => token === state.selected);
  if (followed) {
    const ends = followed.expertIds.map((e, k) => `expert ${e} (gate ${followed.gates[k].toFixed(2)}, `
      + `${followed.kept[k] ? "kept" : "dropped"})`);
    words.push(`Token ${state.selected} goes to ${ends.join(" and ")}.`);
  }
  return words.join(" ");
}

// ---- drawing ----------------------------------------------------------------------------------

const [WIDTH, LEFT, GAP, ROW] = [900, 78, 10, 30];

/** Buttons of which one is pressed, with their name above. */
function field(label, options, onPick) {
  const { node, update } = oneOf(label, options, onPick);
  return { node: make("div", { class: "field" }, make("span", {}, label), node), update };
}

function buildControls(change) {
  const factor = slider("capacity factor", { min: 0.25, max: 3, step: 0.05 },
    (capacityFactor) => change({ capacityFactor }));
  const skew = slider("extra skew", { min: 0, max: 3, step: 0.1 }, (v) => change({ skew: v }));
  const policy = field("who is served first",
    [["first_come", "first come"], ["by_gate", "largest gate"], ["random", "random"]],
    (value) => change({ policy: value }));
  const order = field("order of the batch",
    [["as given", "as given"], ["reversed", "reversed"], ["shuffled", "shuffled"]],
    (value) => change({ order: value }));
  const again = make("button", { type: "button" }, "draw again");
  again.addEventListener("click", () => change((state) => ({ seed: state.seed + 1 })));
  const draws = make("span", { class: "seed" });
  return {
    node: make("div", { class: "controls" }, factor.node, skew.node,
      make("div", { class: "field again" }, draws, again), policy.node, order.node),
    update(state) {
      factor.update(state.capacityFactor, state.capacityFactor.toFixed(2));
      skew.update(state.skew, state.skew ? `+${state.skew.toFixed(1)}` : "none: as routed");
      policy.update(state.policy);
      order.update(state.order);
      again.disabled = state.policy !== "random" && state.order !== "shuffled";
      draws.textContent = again.disabled ? "no lots are drawn" : `draw ${state.seed}`;
    },
  };
}

/** One token or slot: a square with a number, and a cross where a choice was dropped. */
function cell(x, y, size, kind, number, attributes = {}) {
  const parts = [draw("rect", { x, y, width: size - 2, height: ROW - 8, rx: 3 })];
  if (number !== null && size >= 15) {
    parts.push(draw("text", { x: x + size / 2 - 1, y: y + 15 }, String(number)));
  }
  if (kind.includes("dropped")) {
    parts.push(draw("path", { d: `M${x + 2} ${y + 2}l${size - 6} ${ROW - 12}m0 ${12 - ROW}l${6 - size} ${ROW - 12}` }));
  }
  return draw("g", { class: `cell ${kind}`, ...attributes }, ...parts);
}

const fate = ({ kept }) => (kept.every(Boolean) ? "whole" : kept.some(Boolean) ? "half" : "none");
const FATES = { whole: "all choices kept", half: "some choices dropped", none: "no expert at all" };

function buildPicture(select) {
  const svg = draw("svg", { class: "stage", role: "group", "aria-label": "Tokens, experts and their places" });
  let [shown, places] = [[], []];
  const step = (from, by) => {
    const next = Math.max(0, Math.min(shown.length - 1, from + by));
    select(shown[next].token);
    places[next].focus();
  };
  const tokenCell = (row, place, size, selected) => {
    const node = cell(LEFT + place * size, 4, size, `token ${fate(row)}${row.token === selected ? " followed" : ""}`,
      row.token, { tabindex: row.token === selected || (selected < 0 && !place) ? 0 : -1, role: "button",
        "aria-pressed": row.token === selected, "aria-label": `token ${row.token}: ${FATES[fate(row)]}` });
    node.addEventListener("click", () => select(row.token === selected ? -1 : row.token));
    node.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (by === undefined && event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      if (by === undefined) select(row.token === selected ? -1 : row.token);
      else step(place, by);
    });
    return node;
  };
  return {
    node: scrollBox(svg),
    update(state, { tokens, experts, capacity }) {
      const focused = places.findIndex((node) => node.contains(document.activeElement));
      const longest = Math.max(...experts.map(({ dropped }) => capacity + dropped.length));
      const size = Math.min(26, (WIDTH - LEFT - GAP - 4) / Math.max(longest, tokens.length));
      const top = ROW + 32;
      svg.setAttribute("viewBox", `0 0 ${WIDTH} ${top + experts.length * ROW + 24}`);
      shown = tokens;
      places = tokens.map((row, place) => tokenCell(row, place, size, state.selected));
      const line = LEFT + capacity * size + GAP / 2;
      const rows = experts.flatMap(({ slots, dropped }, e) => expertRow(e, slots, dropped, top + e * ROW, size, line, state.selected));
      const bottom = top + experts.length * ROW;
      svg.replaceChildren(
        draw("text", { x: LEFT - 8, y: 19, class: "name" }, "batch"), ...places,
        draw("text", { x: WIDTH - 4, y: ROW + 14, class: "note key" },
          "solid: all choices kept · dashed: some dropped · dotted: no expert at all"),
        ...rows,
        draw("path", { class: "limit", d: `M${line} ${top - 6}V${bottom + 2}` }),
        draw("text", { x: Math.min(line, WIDTH - 500), y: bottom + 16, class: "note" }, `capacity ${capacity}`),
        draw("text", { x: WIDTH - 4, y: bottom + 16, class: "note key" },
          "strong: first choice · faint: a later one · dotted: padding · crossed: dropped"),
      );
      if (focused >= 0) places[Math.min(focused, places.length - 1)].focus();
    },
  };
}

function expertRow(e, slots, dropped, y, size, line, selected) {
  const mark = (entry) => (entry && entry.token === selected ? " followed" : "");
  const filled = slots.map((entry, i) => cell(LEFT + i * size, y, size,
    entry ? `slot choice-${entry.k}${mark(entry)}` : "slot padding", entry && entry.token));
  const lost = dropped.map((entry, i) => cell(line + GAP / 2 + i * size, y, size, `dropped${mark(entry)}`, entry.token));
  return [draw("text", { x: LEFT - 8, y: y + 15, class: "name" }, `expert ${e}`), ...filled, ...lost];
}

function buildNumbers() {
  const names = ["kept choices", "dropped choices", "padding", "tokens without expert"];
  const list = namedNumbers(names, { notes: true });
  const bars = [0, 1, 2, 3].map(() => [make("span", { class: "bar" }), make("span", { class: "share" })]);
  const labels = ["first", "second", "third", "last"];
  const node = make("div", { class: "numbers" },
    list.node,
    make("div", { class: "quarters", role: "img" }, make("p", {}, "choices lost, by quarter of the batch"),
      ...bars.map(([bar, share], i) => make("div", { class: "quarter" }, make("span", { class: "track" }, bar), share,
        make("span", { class: "where" }, labels[i])))));
  return {
    node,
    update(_, { kept, choices, dropped, padded, slots, orphans, tokens, quarters }) {
      list.update([
        [kept, `of ${choices}`], [dropped, percent(dropped / choices)],
        [padded, `${percent(slots ? padded / slots : 0)} of the places`], [orphans, `of ${tokens.length}`],
      ]);
      bars.forEach(([bar, share], i) => {
        bar.style.height = percent(quarters[i]).replace(" ", "");
        share.textContent = percent(quarters[i]);
      });
      node.querySelector(".quarters").setAttribute("aria-label",
        `Choices lost by quarter of the batch: ${quarters.map(percent).join(", ")}.`);
    },
  };
}

const TRAITS = { capacityFactor: "capacity_factor", policy: "policy", order: "order", skew: "skew",
  seed: "seed", selected: "selected" };

/** The traits as one plain object. */
const read = (model) => ({
  expertIds: model.get("expert_ids"),
  gates: model.get("gates"),
  logits: model.get("logits"),
  capacityFactor: model.get("capacity_factor"),
  policy: model.get("policy"),
  order: model.get("order"),
  skew: model.get("skew"),
  seed: model.get("seed"),
  selected: model.get("selected"),
});

function render({ model, el }) {
  const change = (update) => save(model, typeof update === "function" ? update(read(model)) : update, TRAITS);
  const status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  const parts = [buildControls(change), buildPicture((selected) => change({ selected })), buildNumbers()];
  const [controls, picture, numbers] = parts.map(({ node }) => node);
  const root = make("div", { class: "moe-widget moe-dispatch-explorer", role: "group",
    "aria-label": "Dispatch explorer" },
  make("div", { class: "body" }, controls, status, picture, numbers));
  const update = () => {
    const state = read(model);
    const result = explore(state);
    parts.forEach((part) => part.update(state, result));
    status.textContent = sentence(state, result);
  };
  return mount({ model, el }, root, ["expert_ids", "gates", "logits", ...Object.values(TRAITS)], update);
}

export default { render };
