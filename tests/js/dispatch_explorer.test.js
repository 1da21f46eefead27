import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/dispatch_explorer.js";

// Six tokens that all want expert 0 first and expert 1 second.
const crowd = {
  expertIds: Array(6).fill([0, 1]),
  gates: [0.5, 0.9, 0.6, 0.7, 0.8, 0.55].map((gate) => [gate, 1 - gate]),
  logits: Array(6).fill([2, 1, 0]),
  capacityFactor: 1,
  policy: "first_come",
  order: "as given",
  skew: 0,
  seed: 0,
  selected: -1,
};

test("first come drops the end of the batch, and reversing the batch drops its other end", () => {
  const places = (state) => m.explore(state).tokens.filter(({ kept }) => !kept[0]).map(({ token }) => token);

  assert.deepEqual(places(crowd), [4, 5]);
  assert.deepEqual(places({ ...crowd, order: "reversed" }), [1, 0]);
});

test("by gate drops the smallest gates, wherever they stand", () => {
  const { experts } = m.explore({ ...crowd, policy: "by_gate" });

  assert.deepEqual(experts[0].dropped.map(({ token }) => token).sort(), [0, 5]);
});

test("an expert that nobody chose is all padding", () => {
  const { experts, capacity, padded } = m.explore(crowd);

  assert.equal(capacity, 4);
  assert.deepEqual(experts[2].slots, [null, null, null, null]);
  assert.equal(padded, 4);
});

test("the capacity reads its factor as a decimal", () => {
  assert.equal(m.capacityOf(50, 1, 1, 1.1), 55);
  assert.equal(m.capacityOf(1, 8, 2, 1), 1);
});

test("skew pulls choices towards the first experts", () => {
  const even = { ...crowd, logits: [[0, 1, 2], [2, 1, 0]], expertIds: [[2], [0]], gates: [[1], [1]] };

  assert.deepEqual(m.routed({ ...even, skew: 3 }).expertIds, [[0], [0]]);
  assert.deepEqual(m.routed(even).expertIds, [[2], [0]]);
});

test("a shuffle is a permutation that its seed repeats", () => {
  assert.deepEqual([...m.shuffled(20, 3)].sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => i));
  assert.deepEqual(m.shuffled(20, 3), m.shuffled(20, 3));
  assert.notDeepEqual(m.shuffled(20, 3), m.shuffled(20, 4));
});

test("the words follow a selected token to its experts", () => {
  const state = { ...crowd, selected: 5 };

  assert.match(m.sentence(state, m.explore(state)), /Token 5 goes to expert 0 \(gate 0\.55, dropped\)/);
});
