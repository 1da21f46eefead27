import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/cost_calculator.js";

test("two of sixteen experts wake all sixteen when enough tokens come", () => {
  assert.equal(m.distinctExperts(16, 2, 1), 2);
  assert.ok(m.distinctExperts(16, 2, 64) > 15.9);
  assert.equal(m.distinctExperts(4, 8, 1), 4); // more choices than experts: all of them
});

test("segments follow one another and fill the bar", () => {
  const parts = m.segments([["shared", 1], ["chosen", 2], ["idle", 5]], 8);

  assert.deepEqual(parts.map(({ start }) => start), [0, 0.125, 0.375]);
  assert.equal(parts.reduce((total, { width }) => total + width, 0), 1);
});

test("numbers are written with three digits and a unit", () => {
  assert.equal(m.short(72e9), "72.0B");
  assert.equal(m.short(999.7e6), "1.00B");
  assert.equal(m.bytes(144e9), "144 GB");
  assert.equal(m.short(Infinity), "∞");
});

test("a slider stops at the preset's own value, and k never exceeds the experts", () => {
  const stops = m.stopsOf("d_ff", { d_ff: 6976, n_experts: 16 }, { d_ff: 6976 });

  assert.ok(stops.includes(6976));
  assert.deepEqual(m.stopsOf("top_k", { top_k: 2, n_experts: 3 }, { top_k: 2 }), [1, 2, 3]);
});

const PLAIN = {
  n_dense_layers: 0, moe_every: 1, d_ff_dense: 0, dense_matrices: 3, expert_matrices: 3,
  expert_bias: false, n_shared_experts: 0, d_ff_shared: null, router: [1, 0], attention: [4000, 0],
  vectors: [2, 0], last_vectors: [1, 0], input_rows: 1000, output_rows: 1000,
  flops_per_position: 8000, cache_bytes: 4000,
  n_experts: 8, top_k: 2, d_ff: 4096, d_model: 1000, n_layers: 10,
};
const STATE = {
  preset: "Some model", n_experts: 8, top_k: 2, d_ff: 4096, d_model: 1000, n_layers: 10,
  batch: 4, context: 0, n_devices: 1, usd_per_hour: 2,
};
const deviceOf = (memory) => ({ memory_bytes: memory, bandwidth_bytes_per_s: 1e12, peak_flops_per_s: 1e14 });

test("what does not fit has no speed, no price and no curve", () => {
  const small = m.costs(PLAIN, STATE, deviceOf(1e8), 16);
  const large = m.costs(PLAIN, STATE, deviceOf(1e10), 16);

  assert.equal(small.fits, false);
  assert.deepEqual(m.figureTexts(STATE, small).slice(1).map(([value]) => value), ["—", "—"]);
  assert.match(m.figureTexts(STATE, small)[2][1], /does not fit: it takes \d+ devices/);
  assert.match(m.sentence(STATE, small, PLAIN), /do not fit .* no speed and no price/);
  assert.doesNotMatch(m.sentence(STATE, small, PLAIN), /\$/);
  assert.ok(!m.curves(PLAIN, STATE, deviceOf(1e8), 16).some(({ kind }) => kind === "sparse"));

  assert.equal(large.fits, true);
  assert.match(m.sentence(STATE, large, PLAIN), /they fit .*\$/);
  assert.equal(m.curves(PLAIN, STATE, deviceOf(1e10), 16).length, 3);
});

test("a curve ends where the cache no longer fits", () => {
  const long = { ...STATE, context: 100000 };
  const weights = m.costs(PLAIN, STATE, deviceOf(1), 16).weights;
  const [sparse] = m.curves(PLAIN, long, deviceOf(weights + 100 * 100000 * 40000), 16)
    .filter(({ kind }) => kind === "sparse");
  assert.ok(sparse.points.at(-1).batch <= 100);
  assert.ok(sparse.points.length > 10);
});

test("a changed model no longer carries the name of its preset", () => {
  const changed = { ...STATE, n_experts: 16 };
  const device = deviceOf(1e12);

  assert.match(m.sentence(STATE, m.costs(PLAIN, STATE, device, 16), PLAIN), /^Some model stores/);
  const words = m.sentence(changed, m.costs(PLAIN, changed, device, 16), PLAIN);
  assert.match(words, /^Your model, changed from Some model, stores/);
});

test("the work of attention stands apart from that of the parameters", () => {
  const long = { ...STATE, context: 1000 };
  const [bare, full] = [STATE, long].map((state) => m.costs(PLAIN, state, deviceOf(1e12), 16));

  assert.equal(full.flops - bare.flops, 10 * 8000 * 1000);
  const [value, note] = m.figureTexts(long, full)[0];
  assert.equal(value, m.flopsText(full.flops));
  assert.ok(note.startsWith(m.flopsText(bare.flops)) && note.includes("1,000 tokens"), note);
});

test("no label of a bar stands on another", () => {
  const labels = (...places) =>
    m.labelled(places.map((at, i) => ({ kind: String(i), at, label: "not 25.8 GB" }))).map(({ label }) => label);

  assert.deepEqual(labels(0.02, 0.1), ["not 25.8 GB", ""]);
  assert.deepEqual(labels(0.02, 0.3), ["not 25.8 GB", "not 25.8 GB"]);
  assert.deepEqual(labels(0.5, 0.7), ["not 25.8 GB", ""]); // they would grow towards each other
  assert.deepEqual(labels(0.04, 0.19), ["not 25.8 GB", ""]); // on the narrowest page they would meet
  assert.equal(m.labelled([{ kind: "a", at: 0.9, label: "x" }])[0].side, "left");
});
