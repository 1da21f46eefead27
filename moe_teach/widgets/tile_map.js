// Browser half of `tile_map.py`: sorted rows, the tiles that cover them, and what they load.
// Every name read with model.get is a trait there.

import { draw, make, mount, namedNumbers, save, scrollBox, slider } from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

export const ORDERS = ["along the columns", "down the rows", "in groups of 4"];
export const SIZES = Array.from({ length: 8 }, (_, i) => 2 ** i);
const GROUP = 4;

const sum = (values) => values.reduce((a, b) => a + b, 0);
const range = (n) => Array.from({ length: n }, (_, i) => i);

/** Rows of each expert after `skew` per cent of all rows moved to the first; the sum stays. */
export function countsOf({ tokensPerExpert, skew }) {
  const nRows = sum(tokensPerExpert);
  const hundredths = tokensPerExpert.map((count, e) => count * (100 - skew) + (e ? 0 : nRows * skew));
  const counts = hundredths.map((value) => Math.floor(value / 100));
  const byRest = range(counts.length).sort((a, b) => (hundredths[b] % 100) - (hundredths[a] % 100) || a - b);
  byRest.slice(0, nRows - sum(counts)).forEach((expert) => { counts[expert] += 1; });
  return counts;
}

/** The tiles down the rows: expert, first row, own rows. */
export function rowTiles(counts, blockRows) {
  let first = 0;
  return counts.flatMap((count, expert) => {
    const tiles = range(Math.ceil(count / blockRows)).map((i) => ({
      expert, start: first + i * blockRows, nRows: Math.min(blockRows, count - i * blockRows),
    }));
    first += count;
    return tiles;
  });
}

/** The [row tile, column block] of each program, in order. */
export function programsOf(nRowTiles, nColumnBlocks, order) {
  if (order === ORDERS[0]) return range(nRowTiles).flatMap((row) => range(nColumnBlocks).map((column) => [row, column]));
  const height = order === ORDERS[1] ? Math.max(1, nRowTiles) : GROUP;
  return range(Math.ceil(nRowTiles / height)).flatMap((group) => range(nColumnBlocks).flatMap((column) =>
    range(Math.min(height, nRowTiles - group * height)).map((i) => [group * height + i, column])));
}

const widthOf = (column, { blockColumns, nColumns }) => Math.min(blockColumns, nColumns - column * blockColumns);

/** What one wave of programs loads: distinct row tiles, and distinct blocks of expert matrices. */
export function waveLoads(wave, tiles, state) {
  const rows = new Set(wave.map(([row]) => row));
  const blocks = new Map(wave.map(([row, column]) => [`${tiles[row].expert}/${column}`, column]));
  return {
    rowTiles: rows.size, blocks: blocks.size,
    vectors: sum([...rows].map((row) => tiles[row].nRows)) + sum([...blocks.values()].map((c) => widthOf(c, state))),
  };
}

/** Everything that the picture and the numbers need of a state. */
export function planOf(state) {
  const counts = countsOf(state);
  const tiles = rowTiles(counts, state.blockRows);
  const nColumnBlocks = Math.ceil(state.nColumns / state.blockColumns);
  const programs = programsOf(tiles.length, nColumnBlocks, state.order);
  const program = Math.min(state.program, programs.length - 1);
  const first = program - (program % state.atOnce);
  const starts = range(Math.ceil(programs.length / state.atOnce)).map((i) => i * state.atOnce);
  const waveAt = (start) => programs.slice(start, start + state.atOnce);
  return {
    counts, tiles, programs, nColumnBlocks, program, first,
    wave: waveLoads(waveAt(first), tiles, state), inWave: waveAt(first).length,
    rows: sum(counts), computed: tiles.length * state.blockRows,
    loaded: sum(starts.map((start) => waveLoads(waveAt(start), tiles, state).vectors)),
    least: sum(counts) + counts.filter((count) => count > 0).length * state.nColumns,
  };
}

const digits = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");
const span = (first, count) => (count === 1 ? String(first) : `${first} to ${first + count - 1}`);
const some = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

/** The chosen program in words, for the line above the picture and for screen readers. */
export function sentence(state, plan) {
  const [row, column] = plan.programs[plan.program];
  const { expert, start, nRows } = plan.tiles[row];
  const empty = state.blockRows - nRows;
  return [
    `Program ${plan.program} of ${plan.programs.length}: expert ${expert}, sorted row${nRows > 1 ? "s" : ""} ${span(start, nRows)},`,
    `column${widthOf(column, state) > 1 ? "s" : ""} ${span(column * state.blockColumns, widthOf(column, state))};`,
    empty ? `${empty} of its ${state.blockRows} rows are padding and masked.` : "no padding.",
    `The ${some(plan.inWave, "program")} of its wave load ${some(plan.wave.rowTiles, "row tile")} and`,
    `${some(plan.wave.blocks, "block")} of expert matrices.`,
  ].join(" ");
}

// ---- drawing ----------------------------------------------------------------------------------

const HUES = 7;
const [WIDTH, HEIGHT, TOP] = [900, 430, 24];
const STRIP = { x: 74, width: 60 };
const TILES = { x: 260, width: 630 };

function menu(label, choices, onChange) {
  const select = make("select", { "aria-label": label },
    ...choices.map((choice) => make("option", { value: choice }, choice)));
  select.addEventListener("change", () => onChange(select.value));
  return {
    node: make("label", { class: "field" }, make("span", {}, label), select),
    update: (now) => { select.value = now; },
  };
}

function buildControls(change) {
  const rows = slider("rows of a tile", { min: 0 }, (i) => change({ blockRows: SIZES[i] }));
  const columns = slider("columns of a tile", { min: 0 }, (i) => change({ blockColumns: SIZES[i] }));
  const skew = slider("rows moved to expert 0", { min: 0, max: 100 }, (skewed) => change({ skew: skewed }));
  const order = menu("order of the programs", ORDERS, (chosen) => change({ order: chosen }));
  const atOnce = slider("programs at once", { min: 1, max: 64 }, (count) => change({ atOnce: count }));
  const program = slider("look at program", { min: 0 }, (id) => change({ program: id }));
  const parts = [rows, columns, skew, order, atOnce, program];
  return {
    node: make("div", { class: "controls" }, ...parts.map(({ node }) => node)),
    update(state, plan) {
      rows.update(SIZES.indexOf(state.blockRows), String(state.blockRows), SIZES.length - 1);
      columns.update(SIZES.indexOf(state.blockColumns), String(state.blockColumns), SIZES.length - 1);
      skew.update(state.skew, `${state.skew} %`);
      order.update(state.order);
      atOnce.update(state.atOnce);
      program.update(plan.program, String(plan.program), plan.programs.length - 1);
    },
  };
}

/** The sorted rows, one band for each expert, and the wedge that leads to its tiles. */
function bands(plan, blockRows, rowHeight, tileHeight) {
  let [row, tile] = [0, 0];
  return plan.counts.flatMap((count, expert) => {
    if (!count) return [];
    const [top, bottom] = [TOP + row * rowHeight, TOP + (row + count) * rowHeight];
    const nTiles = Math.ceil(count / blockRows);
    const [left, right] = [TOP + tile * tileHeight, TOP + (tile + nTiles) * tileHeight];
    [row, tile] = [row + count, tile + nTiles];
    const edge = STRIP.x + STRIP.width;
    const hue = `hue${expert % HUES}`;
    return [
      draw("polygon", { class: `wedge ${hue}`, points: `${edge},${top} ${TILES.x},${left} ${TILES.x},${right} ${edge},${bottom}` }),
      draw("rect", { class: `band ${hue}`, x: STRIP.x, y: top, width: STRIP.width, height: bottom - top }),
      ...(bottom - top > 12 ? [draw("text", { class: "who", x: STRIP.x - 8, y: (top + bottom) / 2 + 4 }, `expert ${expert}`),
        draw("text", { class: "count", x: STRIP.x + STRIP.width / 2, y: (top + bottom) / 2 + 4 }, String(count))] : []),
    ];
  });
}

function tileBox(id, state, plan, tileHeight, onPick) {
  const [row, column] = plan.programs[id];
  const { expert, nRows } = plan.tiles[row];
  const perColumn = TILES.width / state.nColumns;
  const box = {
    x: TILES.x + column * state.blockColumns * perColumn, y: TOP + row * tileHeight,
    width: widthOf(column, state) * perColumn, height: tileHeight,
  };
  const own = tileHeight * (nRows / state.blockRows);
  const together = id >= plan.first && id < plan.first + plan.inWave;
  const parts = [draw("rect", { ...box, height: own, class: `own hue${expert % HUES}` })];
  if (own < tileHeight) parts.push(draw("rect", { ...box, y: box.y + own, height: tileHeight - own, class: "padding" }));
  parts.push(draw("rect", { ...box, class: "frame" }));
  if (tileHeight > 13 && box.width > 26) {
    parts.push(draw("text", { class: "id", x: box.x + 5, y: box.y + Math.min(13, tileHeight - 3) }, String(id)));
  }
  const group = draw("g", { class: `tile${together ? " together" : ""}${id === plan.program ? " here" : ""}` }, ...parts);
  group.addEventListener("click", () => onPick(id));
  return group;
}

function buildPicture(change) {
  const svg = draw("svg", { class: "map", role: "img", viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
  const hatch = draw("defs", {}, draw("pattern", {
    id: "moe-tile-hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  }, draw("line", { x1: 0, y1: 0, x2: 0, y2: 6, class: "hatch" })));
  const pick = (id) => change({ program: id });
  return {
    node: scrollBox(svg),
    update(state, plan) {
      const room = HEIGHT - TOP - 6;
      const [rowHeight, tileHeight] = [room / plan.rows, room / plan.tiles.length];
      // The wave is drawn last, so that no neighbour covers its outline.
      const ids = range(plan.programs.length).sort((a, b) => rank(a, plan) - rank(b, plan));
      svg.replaceChildren(hatch,
        draw("text", { class: "head", x: STRIP.x + STRIP.width / 2, y: 14 }, "sorted rows"),
        draw("text", { class: "head", x: TILES.x + TILES.width / 2, y: 14 },
          `tiles of ${state.blockRows} × ${state.blockColumns}, numbered by program`),
        ...bands(plan, state.blockRows, rowHeight, tileHeight),
        ...ids.map((id) => tileBox(id, state, plan, tileHeight, pick)));
      svg.setAttribute("aria-label", `${plan.rows} sorted rows; rows by expert: `
        + `${plan.counts.map((count, e) => `${e}: ${count}`).join(", ")}; ${plan.programs.length} tiles.`);
    },
  };
}

const rank = (id, plan) => (id === plan.program ? 2 : Number(id >= plan.first && id < plan.first + plan.inWave));

function buildNumbers() {
  const list = namedNumbers(
    ["programs", "rows needed", "rows computed", "padding", "vectors loaded", "the least possible"]);
  return {
    node: list.node,
    update(state, plan) {
      const padding = (100 * (plan.computed - plan.rows)) / plan.computed;
      list.update([digits(plan.programs.length), digits(plan.rows), digits(plan.computed), `${padding.toFixed(0)} %`,
        digits(plan.loaded), digits(plan.least)]);
    },
  };
}

const TRAITS = {
  tokensPerExpert: "tokens_per_expert", nColumns: "n_columns", blockRows: "block_rows", program: "program",
  blockColumns: "block_columns", skew: "skew", order: "order", atOnce: "at_once",
};

/** The traits as one plain object. */
const read = (model) => ({
  tokensPerExpert: model.get("tokens_per_expert"),
  nColumns: model.get("n_columns"),
  blockRows: model.get("block_rows"),
  blockColumns: model.get("block_columns"),
  skew: model.get("skew"),
  order: model.get("order"),
  atOnce: model.get("at_once"),
  program: model.get("program"),
});

function render({ model, el }) {
  const change = (updates) => {
    // Other tiles, fewer programs: the chosen one must still be there.
    const { program } = planOf({ ...read(model), ...updates });
    save(model, { ...updates, program }, TRAITS);
  };
  const status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  const parts = [buildControls(change), buildPicture(change), buildNumbers()];
  const [controls, picture, numbers] = parts.map(({ node }) => node);
  const key = make("p", { class: "key" },
    "hatched: padding · strong: a wave, the programs that run together · thick frame: the program you look at · "
    + "an expert without rows has no tile · a vector: one row, or one row of a matrix, of length D");
  const root = make("div", { class: "moe-widget moe-tile-map", role: "group", "aria-label": "Tile map" },
    controls, status, picture, key, numbers);
  const update = () => {
    const state = read(model);
    const plan = planOf(state);
    parts.forEach((part) => part.update(state, plan));
    status.textContent = sentence(state, plan);
  };
  return mount({ model, el }, root, Object.values(TRAITS), update);
}

export default { render };
