// Browser half of `granularity.py`: the layer, its bill and its routes. Every name read with
// model.get is a trait there.

import { draw, make, mount, namedNumbers, save, scrollBox, slider } from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

/** The cuts that come out even, up to `most` experts in all. */
export function splitsOf(dFf, nExperts, most = 512) {
  const limit = Math.min(dFf, Math.max(1, Math.floor(most / nExperts)));
  return Array.from({ length: limit }, (_, i) => i + 1).filter((parts) => dFf % parts === 0);
}

/** n choose k, exactly. */
export function choose(n, k) {
  let routes = 1n;
  for (let i = 0; i < Math.min(k, n - k); i++) routes = (routes * BigInt(n - i)) / BigInt(i + 1);
  return routes;
}

/** Everything that the picture and the numbers need of a state. */
export function designOf({ nExperts, topK, dFf, dModel, split, nShared, measured }) {
  const routed = nExperts * split - nShared;
  const chosen = topK * split - nShared;
  const at = (row) => row.split === split && row.n_shared === nShared;
  return {
    routed, chosen, width: dFf / split, routes: choose(routed, chosen),
    total: nExperts * dFf, active: topK * dFf,
    router: dModel * routed, experts: 2 * dModel * topK * dFf,
    measured: measured.find(at)?.kilobits ?? null,
  };
}

/** Which routed experts to mark as chosen: as many as there are, spread out. */
export function marked(routed, chosen) {
  return new Set(Array.from({ length: chosen }, (_, i) => Math.floor(((i + 0.5) * routed) / chosen)));
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** A large count for people: digits while they can be read, then a power of ten. */
export function countText(count) {
  const digits = count.toString();
  if (digits.length <= 13) return digits.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${digits[0]}.${digits.slice(1, 3)} × 10^${digits.length - 1}`;
}

/** The state in words, for the line above the picture and for screen readers. */
export function sentence(state, now) {
  const shared = state.nShared ? ` and ${state.nShared} always on` : "";
  const words = [
    `${now.routed} routed experts of width ${now.width}, ${now.chosen} chosen${shared}: `
      + `${countText(now.routes)} routes at the same bill.`,
  ];
  if (now.chosen === 1 && state.nShared) {
    words.push("With one choice left, a renormalised gate is always 1 and teaches the router nothing.");
  }
  if (now.routed === now.chosen) words.push("Everybody is chosen: this layer is dense.");
  words.push(now.measured
    ? `Measured: ${mean(now.measured).toFixed(1)} kilobits, ${now.measured.length} seeds.`
    : "Nobody measured this one.");
  return words.join(" ");
}

// ---- drawing ----------------------------------------------------------------------------------

const [WIDTH, HEIGHT] = [900, 96];

function buildControls(change) {
  let splits = [1];
  const cut = slider("parts per expert", { min: 0 }, (index) => change({ split: splits[index] }));
  const share = slider("always on", { min: 0 }, (count) => change({ nShared: count }));
  return {
    node: make("div", { class: "controls" }, cut.node, share.node),
    update(state) {
      splits = splitsOf(state.dFf, state.nExperts);
      const [lastCut, lastShared] = [splits.length - 1, state.topK * state.split - 1];
      cut.update(splits.indexOf(state.split), String(state.split), lastCut);
      share.update(state.nShared, String(state.nShared), lastShared);
      cut.input.disabled = lastCut === 0;
      share.input.disabled = lastShared === 0;
    },
  };
}

function buildLayer() {
  const svg = draw("svg", { class: "layer", role: "img", viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
  return {
    node: svg,
    update(state, now) {
      const all = now.routed + state.nShared;
      const pitch = WIDTH / all;
      const gap = Math.min(2, pitch / 5);
      const works = marked(now.routed, now.chosen);
      const experts = Array.from({ length: all }, (_, place) => {
        const kind = place < state.nShared ? "shared" : works.has(place - state.nShared) ? "chosen" : "idle";
        // Height tells as well as colour: who works stands tall.
        const height = kind === "idle" ? HEIGHT - 40 : HEIGHT - 8;
        const box = { x: place * pitch, y: HEIGHT - height, width: pitch - gap, height };
        const notch = kind === "shared"
          ? [draw("circle", { cx: box.x + box.width / 2, cy: box.y + 12, r: Math.min(4, pitch / 3) })] : [];
        return draw("g", { class: kind }, draw("rect", box), ...notch);
      });
      svg.replaceChildren(...experts);
      svg.setAttribute("aria-label",
        `${all} experts side by side: ${now.chosen} chosen, ${state.nShared} always on, the rest idle.`);
    },
  };
}

function buildNumbers() {
  const names = ["hidden units", "at work for a token", "routes", "router against experts", "kilobits measured"];
  const list = namedNumbers(names, { notes: true });
  [...list.node.children].forEach((row, i) => row.classList.add(i < 2 ? "stays" : "moves"));
  return {
    node: list.node,
    update(state, now) {
      const bits = now.measured;
      list.update([
        [countText(BigInt(now.total)), "whatever you cut"],
        [countText(BigInt(now.active)), "whatever you cut"],
        [countText(now.routes), `${now.routed} choose ${now.chosen}`],
        [`${((100 * now.router) / now.experts).toFixed(0)} %`, `${countText(BigInt(now.router))} to ${countText(BigInt(now.experts))}`],
        bits ? [mean(bits).toFixed(1), `${Math.min(...bits).toFixed(1)} to ${Math.max(...bits).toFixed(1)}`]
          : ["–", "not measured"],
      ]);
    },
  };
}

/** Places of the measured designs on the chart: by cut along, by bits up. */
export function chartOf(measured, [width, height]) {
  const all = measured.flatMap(({ kilobits }) => kilobits);
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const last = Math.log2(Math.max(2, ...measured.map(({ split }) => split)));
  const x = ({ split, n_shared: shared }) => 70 + ((width - 190) * Math.log2(split)) / last + (shared ? 70 : 0);
  const y = (bits) => 14 + ((height - 44) * (high - bits)) / (high - low || 1);
  return { low, high, marks: measured.map((row) => ({ row, x: x(row), ys: row.kilobits.map(y) })) };
}

function buildChart() {
  const size = [WIDTH, 190];
  const svg = draw("svg", { class: "chart", role: "img", viewBox: `0 0 ${size.join(" ")}` });
  const caption = make("p", { class: "key" },
    "kilobits stored, by parts per expert; squares: with an always-on part; one mark per seed; the axis does not start at 0");
  const node = make("div", {}, scrollBox(svg), caption);
  return {
    node,
    update(state) {
      node.toggleAttribute("hidden", !state.measured.length);
      if (!state.measured.length) return;
      const { low, high, marks } = chartOf(state.measured, size);
      const groups = marks.map(({ row, x, ys }) => {
        const here = row.split === state.split && row.n_shared === state.nShared;
        const shape = (cy) => (row.n_shared
          ? draw("rect", { x: x - 4, y: cy - 4, width: 8, height: 8 }) : draw("circle", { cx: x, cy, r: 4.5 }));
        const label = row.n_shared ? `${row.split}, ${row.n_shared} on` : String(row.split);
        return draw("g", { class: here ? "here" : "" }, ...ys.map(shape),
          draw("text", { x, y: size[1] - 8, class: "cut" }, here ? `▲ ${label}` : label));
      });
      const axis = [[high, 14], [low, size[1] - 30]].map(([bits, y]) =>
        draw("text", { x: 36, y: y + 4, class: "end" }, bits.toFixed(1)));
      svg.replaceChildren(...axis, ...groups);
      svg.setAttribute("aria-label", `Kilobits by design: ${state.measured
        .map((row) => `${row.split} parts, ${row.n_shared} always on: ${mean(row.kilobits).toFixed(1)}`).join("; ")}.`);
    },
  };
}

const TRAITS = { nExperts: "n_experts", topK: "top_k", dFf: "d_ff", dModel: "d_model", split: "split",
  nShared: "n_shared", measured: "measured" };

/** The traits as one plain object. */
const read = (model) => ({
  nExperts: model.get("n_experts"),
  topK: model.get("top_k"),
  dFf: model.get("d_ff"),
  dModel: model.get("d_model"),
  split: model.get("split"),
  nShared: model.get("n_shared"),
  measured: model.get("measured"),
});

function render({ model, el }) {
  const change = (updates) => {
    const { topK, nShared } = read(model);
    // A coarser cut may leave fewer places than are shared now.
    const fewer = "split" in updates ? { nShared: Math.min(nShared, topK * updates.split - 1) } : {};
    save(model, { ...fewer, ...updates }, TRAITS);
  };
  const status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  const parts = [buildControls(change), buildLayer(), buildNumbers(), buildChart()];
  const [controls, layer, numbers, chart] = parts.map(({ node }) => node);
  const key = make("p", { class: "key" }, "tall: at work · with a dot: always on · low: at rest");
  const root = make("div", { class: "moe-widget moe-granularity", role: "group", "aria-label": "Granularity" },
    controls, status, layer, key, numbers, chart);
  const update = () => {
    const state = read(model);
    if (state.nShared >= state.topK * state.split) return; // between two messages of one change
    const now = designOf(state);
    parts.forEach((part) => part.update(state, now));
    status.textContent = sentence(state, now);
  };
  return mount({ model, el }, root, Object.values(TRAITS), update);
}

export default { render };
