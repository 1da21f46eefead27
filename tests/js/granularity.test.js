import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/granularity.js";

const base = { nExperts: 8, topK: 1, dFf: 64, dModel: 32, split: 4, nShared: 1, measured: [] };

test("cutting and sharing keep the bill and change the routes", () => {
  const now = m.designOf(base);

  assert.deepEqual([now.routed, now.chosen, now.width, now.routes], [31, 3, 16, 4495n]);
  assert.deepEqual([now.total, now.active], [512, 64]);
  assert.equal(m.designOf({ ...base, split: 1, nShared: 0 }).routes, 8n);
});

test("routes are exact where floating point is not", () => {
  assert.equal(m.choose(64, 8), 4426165368n);
  assert.equal(m.choose(512, 64), m.choose(512, 448));
  assert.equal(m.choose(5, 0), 1n);
});

test("only cuts that come out even are offered, and not more parts than can be seen", () => {
  assert.deepEqual(m.splitsOf(12, 2), [1, 2, 3, 4, 6, 12]);
  assert.deepEqual(m.splitsOf(64, 64), [1, 2, 4, 8]);
});

test("as many experts are marked as are chosen", () => {
  for (const [routed, chosen] of [[31, 3], [8, 1], [512, 64], [5, 5], [7, 6]]) {
    const chosenIds = [...m.marked(routed, chosen)];
    assert.equal(chosenIds.length, chosen);
    assert.ok(Math.max(...chosenIds) < routed);
  }
});

test("large counts become powers of ten", () => {
  assert.equal(m.countText(4426165368n), "4,426,165,368");
  assert.equal(m.countText(12345678901234567n), "1.23 × 10^16");
});

test("the words warn of a router without a teacher, and say what nobody measured", () => {
  const state = { ...base, split: 8, nShared: 7 };

  assert.match(m.sentence(state, m.designOf(state)), /teaches the router nothing.*Nobody measured/);
});

test("the chart puts more bits higher and finer cuts to the right", () => {
  const measured = [
    { split: 1, n_shared: 0, kilobits: [45, 46] },
    { split: 8, n_shared: 0, kilobits: [47, 46] },
  ];
  const { low, high, marks } = m.chartOf(measured, [900, 190]);

  assert.deepEqual([low, high], [45, 47]);
  assert.ok(marks[0].x < marks[1].x);
  assert.ok(marks[1].ys[0] < marks[0].ys[0]);
});
