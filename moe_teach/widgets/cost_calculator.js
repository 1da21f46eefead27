// Browser half of `cost_calculator.py`: the arithmetic of moe_teach.cost, and its picture.
// Every name read with model.get is a trait there.

import { draw, make, mount, save, scrollBox, spread } from "./drawing.js";

// ---- the arithmetic ------------------------------------------------------------------------

/** Parameters part by part, as `moe_teach.cost.count_params` counts them. */
export function countParams(preset, sizes) {
  const { n_experts, top_k, d_ff, d_model, n_layers } = sizes;
  const line = ([slope, fixed]) => slope * d_model + fixed;
  const moeLayers = Math.max(0, Math.floor((n_layers - preset.n_dense_layers) / preset.moe_every));
  const bias = preset.expert_bias ? d_ff * (preset.expert_matrices - 1) + d_model : 0;
  const oneExpert = preset.expert_matrices * d_model * d_ff + bias;
  const sharedWidth = preset.n_shared_experts && (preset.d_ff_shared ?? preset.n_shared_experts * d_ff);
  const vectors = n_layers * line(preset.vectors) + line(preset.last_vectors);
  const shared =
    (preset.input_rows + preset.output_rows) * d_model +
    n_layers * line(preset.attention) +
    (n_layers - moeLayers) * preset.dense_matrices * d_model * preset.d_ff_dense +
    moeLayers * n_experts * line(preset.router) +
    moeLayers * preset.expert_matrices * d_model * sharedWidth +
    vectors;
  const routed = moeLayers * n_experts * oneExpert;
  const chosen = routed * Math.min(1, top_k / n_experts);
  const total = shared + routed;
  return { total, active: shared + chosen, shared, routed, chosen, vectors, input: preset.input_rows * d_model };
}

/** Experts of one layer that `tokens` tokens touch under uniform routing. */
export function distinctExperts(nExperts, topK, tokens) {
  return nExperts * (1 - (1 - Math.min(1, topK / nExperts)) ** tokens);
}

/** The least time of a decoding step, what it yields and what that costs (a roofline). */
function decode({ read, flops, held, batch, device, nDevices, usdPerHour }) {
  const reading = read / (nDevices * device.bandwidth_bytes_per_s);
  const computing = (batch * flops) / (nDevices * device.peak_flops_per_s);
  const tokensPerSecond = batch / Math.max(reading, computing);
  return {
    tokensPerSecond,
    usdPerMillion: ((nDevices * usdPerHour) / (tokensPerSecond * 3600)) * 1e6,
    limit: reading >= computing ? "memory bandwidth" : "arithmetic",
    fits: held <= nDevices * device.memory_bytes,
  };
}

/** Everything the calculator shows for one state; agrees with `moe_teach.cost`. */
export function costs(preset, state, device, bits) {
  const params = countParams(preset, state);
  const { batch, context, n_experts, top_k, n_layers, n_devices, usd_per_hour } = state;
  const machine = { batch, device, nDevices: n_devices, usdPerHour: usd_per_hour };
  const bytes = bits / 8;
  const attending = n_layers * preset.flops_per_position * context;
  const cache = batch * context * n_layers * preset.cache_bytes;
  const flopsOf = (active) => 2 * (active - params.input - params.vectors) + attending;
  const readOf = (touched) => (touched - params.input) * bytes + cache;
  const experts = distinctExperts(n_experts, top_k, batch);
  const touched = params.shared + (params.routed * experts) / n_experts;
  const heldOf = (size) => size * bytes + cache;
  const dense = (size) =>
    decode({ ...machine, read: readOf(size), flops: flopsOf(size), held: heldOf(size) });
  const flops = flopsOf(params.active);
  const read = readOf(touched);
  return {
    ...params,
    ...decode({ ...machine, read, flops, held: heldOf(params.total) }),
    flops,
    attending,
    read,
    cache,
    experts,
    weights: params.total * bytes,
    myth: params.active * bytes,
    memory: n_devices * device.memory_bytes,
    devices: Math.ceil(heldOf(params.total) / device.memory_bytes),
    denseTotal: dense(params.total),
    denseActive: dense(params.active),
  };
}

// ---- layout --------------------------------------------------------------------------------

const SIZES = ["n_experts", "top_k", "d_ff", "d_model", "n_layers"];
const STOPS = {
  n_experts: [2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 256, 384, 512],
  top_k: [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 64],
  d_ff: [512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768],
  d_model: [1024, 1536, 2048, 2560, 3072, 4096, 5120, 6144, 7168, 8192, 10240, 12288],
  n_layers: [8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 96, 128],
  batch: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
  context: [0, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072],
  n_devices: [1, 2, 3, 4, 6, 8, 12, 16, 24, 32],
  usd_per_hour: [0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10],
};

/** The values a slider stops at: the usual ones, the preset's own and the present one. */
export function stopsOf(name, state, preset) {
  const own = name in preset ? [preset[name]] : [];
  const values = [...new Set([...STOPS[name], ...own, state[name]])].sort((a, b) => a - b);
  return name === "top_k" ? values.filter((value) => value <= state.n_experts) : values;
}

/** Parts of a bar as fractions of `whole`, each starting where the one before ends. */
export function segments(parts, whole) {
  let start = 0;
  return parts.map(([kind, value]) => {
    const segment = { kind, value, start: start / whole, width: value / whole };
    start += value;
    return segment;
  });
}

const LETTER = 0.018; // the width of a letter, where the bar is as narrow as a column of a small page

/** Give each mark of a bar a side for its label; one that would meet another's goes without.
 *
 * A mark without a label is drawn short, so that it crosses none.
 */
export function labelled(pointers) {
  const taken = [];
  return pointers.map(({ kind, at, label }) => {
    const side = at > 0.6 ? "left" : "right"; // so that the label stays inside
    const wide = label.length * LETTER;
    const [from, to] = side === "left" ? [at - wide, at] : [at, at + wide];
    const free = taken.every(([start, end]) => to <= start || from >= end);
    if (free) taken.push([from, to]);
    return { kind, at, side, label: free ? label : "" };
  });
}

const CHART = { width: 560, height: 190, left: 46, right: 152, top: 12, bottom: 30 };
const SAMPLE = 20; // the length of the piece of line beside a curve's name
const BATCHES = [0, 10]; // powers of two

/** Where the curve's axes put a batch and a price; both axes are logarithmic. */
export function chartScale(prices) {
  const low = Math.floor(Math.log10(Math.min(...prices)) * 2) / 2;
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...prices)) * 2) / 2);
  const across = CHART.width - CHART.left - CHART.right;
  const down = CHART.height - CHART.top - CHART.bottom;
  const ticks = [];
  for (let power = Math.ceil(low); power <= high; power += 1) ticks.push(10 ** power);
  return {
    x: (batch) => CHART.left + (across * Math.log2(batch)) / BATCHES[1],
    y: (price) => CHART.top + (down * (high - Math.log10(price))) / (high - low),
    batchAt: (x) => {
      const power = Math.round((BATCHES[1] * (x - CHART.left)) / across);
      return 2 ** Math.min(BATCHES[1], Math.max(BATCHES[0], power));
    },
    ticks,
  };
}

/** Cost of a million tokens against the batch, for the model and its two dense relatives.
 *
 * What does not fit into memory has no price: such points are left out.
 */
export function curves(preset, state, device, bits) {
  const powers = Array.from({ length: 41 }, (_, i) => i / 4);
  const rows = powers.map((power) => ({
    batch: 2 ** power,
    ...costs(preset, { ...state, batch: 2 ** power }, device, bits),
  }));
  const price = (pick) =>
    rows
      .filter((row) => pick(row).fits)
      .map((row) => ({ batch: row.batch, usd: pick(row).usdPerMillion }));
  return [
    { kind: "total", label: "dense, full size", points: price((row) => row.denseTotal) },
    { kind: "sparse", label: "this model", points: price((row) => row) },
    { kind: "active", label: "dense, active size", points: price((row) => row.denseActive) },
  ].filter(({ points }) => points.length);
}

// ---- words ---------------------------------------------------------------------------------

/** Three significant digits and a unit: 72.0B, 1.03T; sizes in bytes as 144 GB. */
export function short(value, units = ["", "K", "M", "B", "T", "Q"]) {
  if (!Number.isFinite(value)) return "∞";
  let step = 0;
  // 999.5 would be written as 1000, so it already belongs to the next unit.
  while (Math.abs(value) >= 999.5 && step < units.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = value >= 99.95 || value === 0 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)}${units[step]}`;
}

export const bytes = (value) => short(value, [" B", " kB", " MB", " GB", " TB", " PB"]);
export const flopsText = (value) => short(value, ["", " K", " M", " G", " T", " P"]) + "FLOP";
export const whole = (value) => Math.round(value).toLocaleString("en-GB");
export const dollars = (value) =>
  `$${value >= 100 ? whole(value) : value >= 0.095 ? value.toFixed(2) : value.toPrecision(2)}`;

/** Whether all sizes are those of the preset, so that its name may stand beside the numbers. */
export const isPublished = (state, preset) => SIZES.every((size) => state[size] === preset[size]);

/** The state in words, for the live region: what a glance at the picture gives. */
export function sentence(state, result, preset) {
  const name = isPublished(state, preset) ? state.preset : `Your model, changed from ${state.preset},`;
  const stored =
    `${name} stores ${short(result.total)} parameters and uses ${short(result.active)} of ` +
    `them for a token, 1/${(result.total / result.active).toFixed(1)} of all. ` +
    `${bytes(result.weights + result.cache)} must be resident: `;
  if (!result.fits) {
    return (
      `${stored}they do not fit into ${bytes(result.memory)}, so there is no speed and no price. ` +
      `It takes ${whole(result.devices)} devices, or narrower numbers.`
    );
  }
  return (
    `${stored}they fit into ${bytes(result.memory)}. ` +
    `At batch ${whole(state.batch)} a step reads ${bytes(result.read)}, ` +
    `so at most ${short(result.tokensPerSecond)} tokens a second, limited by ${result.limit}, and ` +
    `at least ${dollars(result.usdPerMillion)} for a million tokens.`
  );
}

/** The three figures, each with its small print; nothing has a speed or a price that does not fit. */
export function figureTexts(state, result) {
  const bare = flopsText(result.flops - result.attending);
  const flops = state.context
    ? `${bare} without context, ${flopsText(result.attending)} to attend to ${whole(state.context)} tokens`
    : `and ${flopsText(2 * result.total)} if all worked`;
  const none = ["—", `does not fit: it takes ${whole(result.devices)} devices`];
  const dense = result.denseTotal.fits
    ? `dense, full size: ${dollars(result.denseTotal.usdPerMillion)}`
    : "";
  return [
    [flopsText(result.flops), flops],
    result.fits ? [short(result.tokensPerSecond), `limited by ${result.limit}`] : none,
    result.fits ? [dollars(result.usdPerMillion), dense] : none,
  ];
}

// ---- the picture ---------------------------------------------------------------------------

const SLIDERS = {
  n_experts: ["Experts", whole],
  top_k: ["Experts per token", whole],
  d_ff: ["Width of an expert", whole],
  d_model: ["Width of the model", whole],
  n_layers: ["Layers", whole],
  batch: ["Batch", (value) => `${whole(value)} at once`],
  context: ["Context", (value) => `${whole(value)} tokens`],
  n_devices: ["Devices", whole],
  usd_per_hour: ["Price of a device", (value) => `$${value.toFixed(2)} / h`],
};

function slider(name, choose) {
  const [label] = SLIDERS[name];
  const value = make("output", { class: "moe-cost-value" });
  const input = make("input", { type: "range", min: 0, step: 1, "data-trait": name });
  const row = make("label", { class: "moe-cost-slider" }, make("span", {}, label), value, input);
  let stops = [];
  input.addEventListener("input", () => choose(name, stops[Number(input.value)]));
  const update = (state, preset) => {
    stops = stopsOf(name, state, preset);
    const index = stops.indexOf(Math.min(state[name], stops.at(-1)));
    const text = SLIDERS[name][1](stops[index]);
    input.max = stops.length - 1;
    input.value = index;
    input.setAttribute("aria-valuetext", text);
    input.style.setProperty("--filled", `${(100 * index) / Math.max(1, stops.length - 1)}%`);
    value.textContent = text;
  };
  return { row, update };
}

function chooser(name, label, choose) {
  const select = make("select", { "data-trait": name });
  select.addEventListener("change", () => choose(name, select.value));
  const row = make("label", { class: "moe-cost-chooser" }, make("span", {}, label), select);
  const update = (options, value) => {
    if (select.options.length !== options.length) {
      select.replaceChildren(...options.map((option) => make("option", { value: option }, option)));
    }
    select.value = value;
  };
  return { row, update };
}

/** One horizontal bar with its title, its number, its segments, marks and a line of small print. */
function bar(title) {
  const [number, track, marks, note] = ["number", "track", "marks", "note"].map((part) =>
    make("div", { class: `moe-cost-${part}` }),
  );
  const head = make("div", { class: "moe-cost-head" }, make("span", {}, title), number);
  const rail = make("div", { class: "moe-cost-rail", "aria-hidden": "true" }, track, marks);
  const update = (text, parts, pointers, small) => {
    const percent = (part) => `${(100 * part).toFixed(3)}%`;
    number.textContent = text;
    track.replaceChildren(
      ...parts.map(({ kind, start, width }) =>
        make("i", { "data-kind": kind, style: `left:${percent(start)};width:${percent(width)}` }),
      ),
    );
    marks.replaceChildren(
      ...labelled(pointers).map(({ kind, at, side, label }) =>
        make(
          "i",
          { "data-kind": kind, "data-side": side, "data-bare": label === "", style: `left:${percent(at)}` },
          make("b", {}, label),
        ),
      ),
    );
    note.replaceChildren(...small);
  };
  return { row: make("section", { class: "moe-cost-bar" }, head, rail, note), update };
}

const key = (kind, text) =>
  make("span", { class: "moe-cost-key" }, make("i", { "data-kind": kind }), text);

function figures() {
  const cells = ["FLOPs for a token", "Tokens a second, at most", "A million tokens, at least"].map(
    (label) => {
      const [value, note] = [make("strong"), make("small")];
      return { value, note, cell: make("div", {}, make("span", {}, label), value, note) };
    },
  );
  const row = make("div", { class: "moe-cost-figures" }, ...cells.map(({ cell }) => cell));
  const update = (texts) =>
    cells.forEach(({ value, note }, i) => ([value.textContent, note.textContent] = texts[i]));
  return { row, update };
}

function chart(choose) {
  const { width, height, left, right, top, bottom } = CHART;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "moe-cost-chart" });
  const head = make(
    "div",
    { class: "moe-cost-head" },
    make("span", {}, "A million tokens, by batch size"),
    make("small", {}, "drag to choose the batch"),
  );
  let scale = null;
  const pick = (event) => {
    const box = svg.getBoundingClientRect();
    choose("batch", scale.batchAt(((event.clientX - box.left) / box.width) * width));
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    event.preventDefault();
    pick(event);
  });
  svg.addEventListener("pointermove", (event) => {
    if (svg.hasPointerCapture(event.pointerId)) pick(event);
  });
  const text = (x, y, words, attributes) => draw("text", { x, y, ...attributes }, words);
  const update = (lines, batch, price) => {
    const prices = lines.flatMap(({ points }) => points.map(({ usd }) => usd));
    scale = chartScale(prices.length ? prices : [1]);
    const end = width - right;
    const grid = scale.ticks.flatMap((tick) => [
      draw("line", { class: "grid", x1: left, x2: end, y1: scale.y(tick), y2: scale.y(tick) }),
      text(left - 8, scale.y(tick) + 4, dollars(tick).replace(/\.00$/, ""), { "text-anchor": "end" }),
    ]);
    const axis = [1, 4, 16, 64, 256, 1024].map((tick) =>
      text(scale.x(tick), height - bottom + 17, whole(tick), { "text-anchor": "middle" }),
    );
    const names = spread(lines.map(({ points }) => scale.y(points.at(-1).usd)), 15);
    const tooLow = Math.max(0, Math.max(...names) - (height - bottom - 6)); // clear of the axis
    const ends = names.map((y) => y - tooLow);
    const paths = lines.flatMap(({ kind, label, points }, i) => [
      draw("path", {
        "data-kind": kind,
        d: points.map((p, n) => `${n ? "L" : "M"}${scale.x(p.batch).toFixed(1)} ${scale.y(p.usd).toFixed(1)}`).join(""),
      }),
      draw("path", { "data-kind": kind, d: `M${end + 10} ${ends[i]}h${SAMPLE}` }),
      text(end + 16 + SAMPLE, ends[i] + 4, label, { class: "name", "data-kind": kind }),
    ]);
    const x = scale.x(Math.min(1024, batch));
    const here = [draw("line", { class: "here", x1: x, x2: x, y1: top, y2: height - bottom })];
    if (price !== null) here.push(draw("circle", { cx: x, cy: scale.y(price), r: 6 }));
    const absent = lines.some(({ kind }) => kind === "sparse")
      ? []
      : [text(end, top + 18, "this model does not fit: no price", { "text-anchor": "end" })];
    svg.replaceChildren(...grid, ...axis, ...paths, ...here, ...absent);
    const said = price === null ? "this model does not fit" : `it is ${dollars(price)}`;
    svg.setAttribute(
      "aria-label",
      `Cost of a million tokens against the batch size; at ${whole(batch)} ${said}.`,
    );
  };
  return { row: make("section", { class: "moe-cost-bar" }, head, scrollBox(svg)), update };
}

function controls(choose) {
  const sliders = Object.keys(SLIDERS).map((name) => slider(name, choose));
  const rows = sliders.map(({ row }) => row);
  const device = chooser("device", "Device", choose);
  const format = chooser("dtype", "Numbers", choose);
  const group = (name, ...members) => make("fieldset", {}, make("legend", {}, name), ...members);
  const root = make(
    "div",
    { class: "moe-cost-controls" },
    group("The model", ...rows.slice(0, SIZES.length)),
    group("The load", format.row, ...rows.slice(SIZES.length, SIZES.length + 2)),
    group("The machine", device.row, ...rows.slice(SIZES.length + 2)),
  );
  const update = (state, { presets, devices, formats }) => {
    sliders.forEach(({ update: updateOne }) => updateOne(state, presets[state.preset]));
    device.update(Object.keys(devices), state.device);
    format.update(Object.keys(formats), state.dtype);
  };
  return { root, update };
}

/** The three bars: what is stored, what is resident, what a step reads. */
function bars() {
  const stored = bar("Parameters");
  const resident = bar("Bytes that must be resident");
  const read = bar("Bytes that one step reads");
  const update = (state, result, bits) => {
    const { total, active, shared, chosen, weights, cache, memory } = result;
    const [k, n] = [Math.min(state.top_k, state.n_experts), state.n_experts];
    const idle = total - active;
    stored.update(
      `${short(active)} of ${short(total)} at work: 1/${(total / active).toFixed(1)}`,
      segments([["shared", shared], ["chosen", chosen], ["idle", idle]], total),
      [{ kind: "naive", at: k / n, label: `${k}/${n} of all` }],
      [
        key("shared", `shared ${short(shared)}`),
        key("chosen", `${k} chosen ${short(chosen)}`),
        key("idle", `${n - k} idle ${short(idle)}`),
      ],
    );
    const size = bits / 8;
    const needed = weights + cache;
    const scale = Math.max(needed, memory) * 1.04;
    resident.update(
      bytes(needed),
      segments([["shared", shared * size], ["chosen", chosen * size], ["idle", idle * size], ["cache", cache]], scale),
      [
        { kind: "myth", at: result.myth / scale, label: `not ${bytes(result.myth)}` },
        { kind: "limit", at: memory / scale, label: bytes(memory) },
      ],
      [
        key("cache", `cache ${bytes(cache)}`),
        result.fits
          ? `fits into ${bytes(memory)}`
          : `does not fit into ${bytes(memory)}: it takes ${whole(result.devices)} devices`,
      ],
    );
    const experts = (result.routed * result.experts * size) / n;
    read.update(
      bytes(result.read),
      segments([["shared", (shared - result.input) * size], ["chosen", experts], ["cache", cache]], scale),
      [],
      [`${whole(state.batch)} tokens touch ${result.experts.toFixed(1)} of ${n} experts in each layer`],
    );
  };
  return { rows: [stored.row, resident.row, read.row], update };
}

function build(choose) {
  const preset = chooser("preset", "Start from", choose);
  const back = make("button", { type: "button", class: "moe-cost-back" }, "back to the published sizes");
  back.addEventListener("click", () => choose("preset", preset.row.querySelector("select").value));
  const [left, three, numbers, curve] = [controls(choose), bars(), figures(), chart(choose)];
  const spoken = make("p", { class: "moe-cost-words", role: "status", "aria-live": "polite" });
  const root = make(
    "div",
    { class: "moe-widget moe-cost" },
    make("div", { class: "moe-cost-top" }, make("strong", {}, "What a sparse model costs"), back, preset.row),
    make(
      "div",
      { class: "moe-cost-columns" },
      left.root,
      make("div", { class: "moe-cost-results" }, ...three.rows, numbers.row, curve.row),
    ),
    spoken,
  );
  const update = (state, data) => {
    const shape = data.presets[state.preset];
    const [device, bits] = [data.devices[state.device], data.formats[state.dtype]];
    const result = costs(shape, state, device, bits);
    preset.update(Object.keys(data.presets), state.preset);
    back.hidden = isPublished(state, shape);
    left.update(state, data);
    three.update(state, result, bits);
    numbers.update(figureTexts(state, result));
    curve.update(curves(shape, state, device, bits), state.batch, result.fits ? result.usdPerMillion : null);
    spoken.textContent = sentence(state, result, shape);
  };
  return { root, update };
}

function render({ model, el }) {
  const read = () => ({
    preset: model.get("preset"),
    n_experts: model.get("n_experts"),
    top_k: model.get("top_k"),
    d_ff: model.get("d_ff"),
    d_model: model.get("d_model"),
    n_layers: model.get("n_layers"),
    batch: model.get("batch"),
    context: model.get("context"),
    dtype: model.get("dtype"),
    device: model.get("device"),
    n_devices: model.get("n_devices"),
    usd_per_hour: model.get("usd_per_hour"),
  });
  const [presets, devices, formats] = [model.get("presets"), model.get("devices"), model.get("formats")];
  const choose = (name, value) => {
    const changes = { [name]: value };
    if (name === "preset") SIZES.forEach((size) => (changes[size] = presets[value][size]));
    if (name === "device") changes.usd_per_hour = devices[value].usd_per_hour;
    if (name === "n_experts") changes.top_k = Math.min(value, model.get("top_k"));
    save(model, changes);
  };
  const view = build(choose);
  const update = () => {
    const state = read();
    view.update(state, { presets, devices, formats });
  };
  let waiting = false;
  const updateSoon = () => {
    if (waiting) return; // several traits change together: one picture is enough
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      update();
    });
  };
  return mount({ model, el }, view.root, Object.keys(read()), update, updateSoon);
}

export default { render };
