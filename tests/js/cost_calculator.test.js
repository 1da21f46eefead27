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
