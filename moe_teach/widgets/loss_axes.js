// Browser half of `loss_axes.py`: the same runs against steps, FLOPs or seconds, and who leads at
// a budget. Every name read with model.get is a trait there.

import { copied, draw, make, mount, oncePerFrame, oneOf, save, scrollBox, spread } from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

export const AXES = ["steps", "flops", "seconds"];
const AXIS_NAMES = { steps: "steps", flops: "active FLOPs", seconds: "seconds" };

/** Unpack the bytes into curves: name, seed, steps, losses, and what one step takes on each axis. */
export function unpack({ runs, steps, losses }) {
  const [allSteps, allLosses] = [new Int32Array(copied(steps)), new Float32Array(copied(losses))];
  let start = 0;
  return runs.map(({ name, seed, n_points: count, flops_per_step: flops, seconds_per_step: seconds }) => {
    const own = [start, (start += count)];
    return {
      name, seed, perStep: { steps: 1, flops, seconds },
      steps: [...allSteps.slice(...own)], losses: [...allLosses.slice(...own)],
    };
  });
}

/** Seeds of the same name together, in the order of their first appearance. */
export function byName(curves) {
  const groups = new Map();
  curves.forEach((curve) => groups.set(curve.name, [...(groups.get(curve.name) ?? []), curve]));
  return [...groups].map(([name, seeds]) => ({ name, seeds }));
}

const first = (curve, axis) => curve.steps[0] * curve.perStep[axis];
const last = (curve, axis) => curve.steps.at(-1) * curve.perStep[axis];

/** The largest budget that every run has reached. */
export const reach = (curves, axis) => Math.min(...curves.map((curve) => last(curve, axis)));

/** The largest budget that all seeds of some name have reached. */
export const furthest = (curves, axis) => Math.max(...byName(curves).map(({ seeds }) => reach(seeds, axis)));

/** The loss at a budget, on the straight line between the two points around it. */
export function lossAt({ steps, losses, perStep }, axis, budget) {
  const place = (i) => steps[i] * perStep[axis];
  const after = steps.findIndex((_, i) => place(i) >= budget);
  if (after === 0) return losses[0];
  if (after < 0) return losses.at(-1);
  const share = (budget - place(after - 1)) / (place(after) - place(after - 1));
  return losses[after - 1] + share * (losses[after] - losses[after - 1]);
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const summary = (values) => ({ mean: mean(values), low: Math.min(...values), high: Math.max(...values) });

/** How a place compares with the one before it. */
function verdict(place, better) {
  if (!better) return "first";
  if (place.low <= better.high) return "inside";
  return place.nSeeds === 1 || better.nSeeds === 1 ? "unknown" : "apart";
}

/**
 * Rank the names at a budget, the lowest mean loss first.
 *
 * `places` are the names whose seeds were all measured around the budget; `absent` the others, with
 * where they end (or begin) and the mean loss there.
 */
export function ranking(curves, axis, budget) {
  const slack = 1e-9 * budget;
  const [places, absent] = [[], []];
  for (const { name, seeds } of byName(curves)) {
    const [start, end] = [Math.max(...seeds.map((seed) => first(seed, axis))), reach(seeds, axis)];
    const at = (where) => summary(seeds.map((seed) => lossAt(seed, axis, where)));
    if (budget < start - slack) absent.push({ name, begins: start, mean: at(start).mean });
    else if (budget > end + slack) absent.push({ name, ends: end, mean: at(end).mean });
    else places.push({ name, ...at(budget), nSeeds: seeds.length });
  }
  places.sort((a, b) => a.mean - b.mean);
  return { places: places.map((place, i) => ({ ...place, versusBetter: verdict(place, places[i - 1]) })), absent };
}

/** The mean over seeds, with lowest and highest, wherever one of the seeds was measured. */
export function band(seeds, axis) {
  const [start, end] = [Math.max(...seeds.map((seed) => first(seed, axis))), reach(seeds, axis)];
  const places = seeds.flatMap(({ steps, perStep }) => steps.map((step) => step * perStep[axis]));
  const inside = [...new Set(places)].filter((x) => x >= start && x <= end).sort((a, b) => a - b);
  return inside.map((x) => ({ x, ...summary(seeds.map((seed) => lossAt(seed, axis, x))) }));
}

// ---- words ------------------------------------------------------------------------------------

const digits = (value) => value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);

/** A place on an axis with three digits and its unit: 400 steps, 3.10 TFLOP, 20.0 s. */
export function amount(value, axis) {
  if (axis === "steps") return `${Math.round(value)} steps`;
  if (axis === "seconds") return `${digits(value)} s`;
  let power = 0;
  // What would be rounded to 1000 already belongs to the next unit.
  for (; value >= 999.5 && power < 7; power += 1) value /= 1000;
  return `${digits(value)} ${["", "K", "M", "G", "T", "P", "E", "Z"][power]}FLOP`;
}

const gap = (place, better) => (place.mean - better.mean).toFixed(3);

/** What the seeds say about place `n` and the one before it. */
export function verdictWords(place, better, n) {
  if (place.versusBetter === "first") return "";
  const behind = `${gap(place, better)} behind place ${n - 1}`;
  return behind + {
    apart: ", more than the seeds differ",
    inside: ": inside the seed spread",
    unknown: ", but one seed shows no spread",
  }[place.versusBetter];
}

const absence = ({ begins, ends, mean: loss }, axis) => (begins === undefined
  ? `ended at ${amount(ends, axis)} with ${loss.toFixed(3)}`
  : `first measured at ${amount(begins, axis)}, ${loss.toFixed(3)}`);

/** The ranking in words, for the line below the picture and for screen readers. */
export function sentence({ places, absent }, axis, budget) {
  const ranked = places.map(({ name, mean: loss }, i) => `${i + 1}. ${name} (${loss.toFixed(3)})`);
  const words = [`At ${amount(budget, axis)}: ${ranked.join(", ") || "nobody was measured"}.`];
  places.forEach((place, i) => {
    if (i === 0) return;
    const between = `between places ${i} and ${i + 1} (${gap(place, places[i - 1])})`;
    if (place.versusBetter === "inside") words.push(`The difference ${between} is inside the seed spread.`);
    if (place.versusBetter === "unknown") words.push(`One seed cannot say whether the difference ${between} is chance.`);
  });
  if (absent.length) {
    words.push(`Not measured there: ${absent.map((each) => `${each.name} (${absence(each, axis)})`).join(", ")}.`);
  }
  return words.join(" ");
}

// ---- layout -----------------------------------------------------------------------------------

/** Round numbers from `low` to `high`, about `count` of them. */
export function ticks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(i * step);
  return { values: found, decimals: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

const LETTER = 6.6; // the width of a letter of the labels, about
export const letterOf = (i) => "ABCDEFGH"[i];

/**
 * Where everything stands in a picture `width` wide: the two scales with their ticks, one band for
 * each name, and the labels at the ends. The steep first part of the curves may leave the picture.
 */
export function layout(curves, { axis, logLoss }, width) {
  const groups = byName(curves);
  const wide = width >= 640;
  const longest = Math.max(...groups.map(({ name }) => name.length));
  const right = wide ? Math.min(215, 40 + LETTER * longest) : 30;
  const box = { left: 48, top: 34, right: width - right, bottom: wide ? 320 : 290 };
  const most = furthest(curves, axis);
  const bands = groups.map(({ seeds }) => band(seeds, axis));
  const points = bands.map((all) => {
    const later = all.filter(({ x }) => x >= 0.06 * most);
    return later.length ? later : all;
  });
  const lowest = Math.min(...points.flat().map(({ low }) => low));
  const highest = Math.max(...points.flat().map(({ high }) => high));
  const pad = 0.06 * (highest - lowest || Math.abs(lowest) || 1);
  const [low, high] = [logLoss ? Math.max(lowest - pad, lowest / 1.1) : lowest - pad, highest + pad];
  const warp = logLoss && low > 0 ? Math.log : (value) => value;
  const x = (place) => box.left + ((box.right - box.left) * place) / most;
  const y = (loss) => box.top + ((box.bottom - box.top) * (warp(high) - warp(loss))) / (warp(high) - warp(low));
  const ends = bands.map((all) => ({ x: x(all.at(-1).x), y: y(all.at(-1).mean) }));
  const heights = spread(ends.map((end) => Math.min(Math.max(end.y, box.top), box.bottom)), 16, box.bottom);
  return {
    box, bands, most, x, y, clipped: Math.max(...bands.flat().map((point) => point.high)) > high,
    place: (at) => Math.min(Math.max(((at - box.left) * most) / (box.right - box.left), 0), most),
    xTicks: ticks(0, most, wide ? 7 : 4), yTicks: ticks(low, high, 6),
    labels: groups.map(({ name }, i) => ({
      end: ends[i], y: heights[i], text: wide ? `${letterOf(i)}  ${cut(name, Math.round((right - 40) / LETTER))}` : letterOf(i),
    })),
  };
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** A budget that may be asked for: on the axis, more than nothing, and a whole number of steps. */
export function settled(budget, axis, most) {
  const least = axis === "steps" ? 1 : most / 1000;
  return Math.min(Math.max(axis === "steps" ? Math.round(budget) : budget, Math.min(least, most)), most);
}

// ---- drawing ----------------------------------------------------------------------------------

const DASHES = ["none", "9 4", "2 4", "12 4 2 4", "6 2", "1 2", "14 3 2 3 2 3", "4 6"];
const MARKS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "M-4-4h8v8h-8z", "M0-5l5 9h-10z", "M0-5.5l5 5.5-5 5.5-5-5.5z",
  "M0 5l5-9h-10z", "M-5-2h3v-3h4v3h3v4h-3v3h-4v-3h-3z", "M-4-4l8 8m0-8l-8 8", "M0-5v10m-5-5h10",
];

const round = (value) => Math.round(10 * value) / 10;
const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${round(x)} ${round(y)}`).join("");
const hue = (i) => `--hue: var(--run-${i})`;
const mark = (i, x, y) => draw("path", { class: "mark", d: MARKS[i], transform: `translate(${round(x)} ${round(y)})` });

/** Line, dash and marker of a name, for the table. */
const swatch = (i) => draw("svg", { class: "swatch", viewBox: "0 0 44 14", width: 44, height: 14, style: hue(i), "aria-hidden": "true" },
  draw("path", { class: "mean", d: "M2 7H42", "stroke-dasharray": DASHES[i] }), mark(i, 22, 7));

function drawAxes({ box, x, y, xTicks, yTicks }, axis, most) {
  const unit = axis === "flops" ? 1000 ** Math.floor(Math.log10(most) / 3) : 1;
  const across = unit === 1 ? xTicks : ticks(0, most / unit, Math.max(2, xTicks.values.length - 1));
  const [middle, height] = [(box.left + box.right) / 2, box.bottom];
  const name = { steps: "training steps", seconds: "seconds of training" }[axis]
    ?? `active FLOPs, forward and backward, in ${amount(unit, "flops").split(" ")[1]}`;
  return [
    ...yTicks.values.flatMap((loss) => [
      draw("path", { class: "grid", d: `M${box.left} ${round(y(loss))}H${box.right}` }),
      draw("text", { class: "tick", x: box.left - 7, y: round(y(loss)) + 4, "text-anchor": "end" }, loss.toFixed(yTicks.decimals)),
    ]),
    ...across.values.map((value) => draw("text", { class: "tick", x: round(x(value * unit)), y: height + 17, "text-anchor": "middle" },
      value.toFixed(across.decimals))),
    draw("path", { class: "frame", d: `M${box.left} ${box.top}V${height}H${box.right}` }),
    draw("text", { class: "tick", x: middle, y: height + 36, "text-anchor": "middle" }, name),
    draw("text", { class: "tick", x: 4, y: box.top - 10 }, "loss"),
  ];
}

function drawBand(points, i, { box, x, y }) {
  const at = ([value, key]) => [x(value.x) - box.left, y(value[key]) - box.top];
  const upper = points.map((point) => at([point, "high"]));
  const lower = points.map((point) => at([point, "low"])).reverse();
  const middle = points.map((point) => at([point, "mean"]));
  const every = Math.max(1, Math.ceil(points.length / 6));
  return draw("g", { style: hue(i) },
    draw("path", { class: "band", d: `${path([...upper, ...lower])}Z` }),
    draw("path", { class: "mean", d: path(middle), "stroke-dasharray": DASHES[i] }),
    ...middle.filter((_, n) => n % every === every - 1 || n === middle.length - 1).map(([px, py]) => mark(i, px, py)));
}

const drawLabel = ({ end, y, text }, i, { box }) => draw("g", { style: hue(i) },
  draw("path", { class: "leader", d: `M${round(end.x) + 5} ${round(end.y)}L${box.right + 8} ${round(y)}` }),
  draw("text", { class: "label", x: box.right + 11, y: round(y) + 4 }, text));

/** The budget line: a slider for mouse and keys, with the place numbers where it crosses. */
function drawBudget({ box, x, y, most }, places, groups, { axis, budget }) {
  const at = round(x(budget));
  const text = amount(budget, axis);
  const half = 8 + (LETTER * text.length) / 2;
  const tab = Math.min(Math.max(at, box.left + half - 40), box.right - half + 24);
  const crossings = places.map((place) => Math.min(Math.max(y(place.mean), box.top), box.bottom));
  const left = at > box.left + 40;
  const heights = spread(crossings, 17, box.bottom - 8);
  const numbers = places.map((place, n) => draw("g", { class: "place", style: hue(groups.indexOf(place.name)) },
    draw("path", { class: "leader", d: `M${at} ${round(crossings[n])}L${at + (left ? -14 : 14)} ${round(heights[n])}` }),
    draw("circle", { cx: at + (left ? -20 : 20), cy: round(heights[n]), r: 7.5 }),
    draw("text", { x: at + (left ? -20 : 20), y: round(heights[n]) + 3.6, "text-anchor": "middle" }, String(n + 1))));
  return draw("g", {
    class: "budget", role: "slider", tabindex: 0, "aria-label": `budget in ${AXIS_NAMES[axis]}`,
    "aria-valuemin": 0, "aria-valuemax": most, "aria-valuenow": budget, "aria-valuetext": text,
  },
  draw("path", { class: "line", d: `M${at} ${box.top - 6}V${box.bottom + 4}` }),
  draw("rect", { class: "tab", x: round(tab - half), y: box.top - 27, width: round(2 * half), height: 21, rx: 6 }),
  draw("text", { class: "tab", x: round(tab), y: box.top - 12, "text-anchor": "middle" }, text),
  ...numbers);
}

/** The picture: drawn anew for every width and state; `move(budget)` asks for another budget. */
function buildPicture(curves, move) {
  const names = byName(curves).map(({ name }) => name);
  const svg = draw("svg", { class: "stage", role: "group", "aria-label": "loss curves and the budget" });
  let [shown, now, dragging] = [null, null, false];
  const aim = ({ clientX }) => {
    const frame = svg.getBoundingClientRect();
    move(settled(shown.place(clientX - frame.left), now.axis, shown.most));
  };
  const stop = () => { dragging = false; };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    dragging = true;
    svg.setPointerCapture(event.pointerId);
    aim(event);
    svg.querySelector(".budget").focus({ preventScroll: true });
    event.preventDefault();
  });
  svg.addEventListener("pointermove", (event) => { if (dragging) aim(event); });
  svg.addEventListener("pointerup", stop);
  svg.addEventListener("pointercancel", stop);
  svg.addEventListener("keydown", (event) => {
    const small = now.axis === "steps" ? Math.max(1, Math.round(shown.most / 100)) : shown.most / 100;
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10,
      Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    move(settled(now.budget + by * small * (event.shiftKey ? 5 : 1), now.axis, shown.most));
  });
  const update = (state, { places }, width) => {
    [now, shown] = [state, layout(curves, state, width)];
    const { box } = shown;
    const focused = svg.contains(document.activeElement);
    svg.setAttribute("viewBox", `0 0 ${width} ${box.bottom + 44}`);
    svg.replaceChildren(
      ...drawAxes(shown, state.axis, shown.most),
      draw("svg", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top },
        ...shown.bands.map((points, i) => drawBand(points, i, shown))),
      ...shown.labels.map((label, i) => drawLabel(label, i, shown)),
      drawBudget(shown, places, names, state));
    if (focused) svg.querySelector(".budget").focus({ preventScroll: true });
  };
  return { node: svg, update, clipped: () => shown.clipped };
}

function buildTable(curves) {
  const groups = byName(curves);
  const [head, body] = [make("tr"), make("tbody")];
  const node = make("table", {}, make("thead", {}, head), body);
  const others = (name, budget, axis) => {
    const { seeds } = groups.find((group) => group.name === name);
    const took = (to) => mean(seeds.map(({ perStep }) => (budget / perStep[axis]) * perStep[to]));
    return AXES.filter((other) => other !== axis).map((other) => amount(took(other), other)).join(" · ");
  };
  const nameCell = (name) => {
    const i = groups.findIndex((group) => group.name === name);
    return make("th", { scope: "row" }, swatch(i), make("b", {}, letterOf(i)), ` ${name}`);
  };
  return {
    node,
    update({ axis, budget }, { places, absent }) {
      head.replaceChildren(...["place", "run", "loss", "seeds", "in other units", "the difference"]
        .map((title) => make("th", { scope: "col" }, title)));
      body.replaceChildren(
        ...places.map((place, i) => make("tr", { class: place.versusBetter },
          make("td", { class: "rank" }, `${i + 1}.`), nameCell(place.name), make("td", { class: "loss" }, place.mean.toFixed(3)),
          make("td", {}, place.nSeeds > 1 ? `${place.low.toFixed(3)} to ${place.high.toFixed(3)}` : "one seed"),
          make("td", {}, others(place.name, budget, axis)), make("td", {}, verdictWords(place, places[i - 1], i + 1)))),
        ...absent.map((each) => make("tr", { class: "absent" }, make("td", {}, "—"), nameCell(each.name),
          make("td", { colspan: 4 }, absence(each, axis)))));
    },
  };
}

function buildControls(pick, toggle) {
  const axes = oneOf("horizontal axis", AXES.map((axis) => [axis, AXIS_NAMES[axis]]), pick);
  const log = make("input", { type: "checkbox" });
  log.addEventListener("change", () => toggle(log.checked));
  return {
    node: make("div", { class: "controls" }, make("span", { class: "soft" }, "the runs at equal"),
      axes.node, make("label", { class: "switch" }, log, "loss on a log scale")),
    update({ axis, logLoss }) {
      axes.update(axis);
      log.checked = logLoss;
    },
  };
}

const read = (model) => ({
  runs: model.get("runs"),
  steps: model.get("steps"),
  losses: model.get("losses"),
  note: model.get("note"),
  axis: model.get("axis"),
  budget: model.get("budget"),
  logLoss: model.get("log_loss"),
});

function render({ model, el }) {
  const { note, ...data } = read(model); // the runs are records: they do not change
  const curves = unpack(data);
  const change = (updates) => save(model, updates);
  const controls = buildControls((axis) => change({ axis, budget: reach(curves, axis) }),
    (checked) => change({ log_loss: checked }));
  const picture = buildPicture(curves, (budget) => change({ budget }));
  const table = buildTable(curves);
  const status = make("p", { class: "status", role: "status" });
  const [origin, key] = [make("p", { class: "origin" }, note), make("p", { class: "soft" })];
  origin.hidden = !note;
  const root = make("div", { class: "moe-widget moe-loss-axes", role: "group", "aria-label": "Loss axes" },
    make("div", { class: "body" }, origin, controls.node, picture.node, status,
      scrollBox(table.node), key));
  const update = () => {
    const state = read(model);
    state.budget = settled(state.budget, state.axis, furthest(curves, state.axis));
    const ranked = ranking(curves, state.axis, state.budget);
    controls.update(state);
    picture.update(state, ranked, Math.max(300, picture.node.clientWidth || 760));
    table.update(state, ranked);
    status.textContent = sentence(ranked, state.axis, state.budget);
    key.textContent = "Line: mean over seeds · band: lowest to highest seed · drag the budget, or use the arrow keys"
      + (picture.clipped() ? " · the start of the curves lies above the picture" : "");
  };
  const { schedule, cancel } = oncePerFrame(update);
  const unmount = mount({ model, el }, root, ["axis", "budget", "log_loss"], update, schedule);
  const watcher = new ResizeObserver(schedule);
  watcher.observe(root);
  return () => {
    unmount();
    watcher.disconnect();
    cancel();
  };
}

export default { render };
