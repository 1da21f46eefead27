import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/loss_axes.js";

const run = (name, seed, losses, flops, seconds) =>
  ({ name, seed, steps: [0, 10, 20], losses, perStep: { steps: 1, flops, seconds } });
const CURVES = [
  run("cheap", 0, [4, 3, 2.0], 1e9, 1),
  run("cheap", 1, [4, 3, 2.2], 1e9, 1),
  run("dear", 0, [4, 2, 1.0], 4e9, 3),
  run("dear", 1, [4, 2, 1.2], 4e9, 3),
];

test("the same runs change their order with the axis", () => {
  const leader = (axis, budget) => m.ranking(CURVES, axis, budget).places[0].name;

  assert.equal(leader("steps", 20), "dear");
  assert.equal(leader("flops", 20e9), "cheap");
  assert.equal(leader("seconds", 20), "cheap");
});

test("between two measured points the loss lies on the straight line", () => {
  assert.equal(m.lossAt(CURVES[0], "steps", 5), 3.5);
  assert.equal(m.lossAt(CURVES[2], "seconds", 15), 3);
  assert.equal(m.lossAt(CURVES[0], "steps", 0), 4);
});

test("whoever has not come so far is not ranked, but named", () => {
  const { places, absent } = m.ranking(CURVES, "seconds", 40);

  assert.deepEqual(places.map(({ name }) => name), ["dear"]);
  assert.deepEqual([absent[0].name, absent[0].ends], ["cheap", 20]);
  assert.match(m.sentence({ places, absent }, "seconds", 40), /Not measured there: cheap \(ended at 20\.0 s with 2\.100\)/);
});

test("a difference inside the seed spread is called by its name", () => {
  const close = [...CURVES.slice(0, 2), run("close", 0, [4, 3, 2.1], 1e9, 1), run("close", 1, [4, 3, 2.3], 1e9, 1)];
  const { places, absent } = m.ranking(close, "steps", 20);

  assert.deepEqual(places.map(({ versusBetter }) => versusBetter), ["first", "inside"]);
  assert.match(m.sentence({ places, absent }, "steps", 20), /between places 1 and 2 \(0\.100\) is inside the seed spread/);
});

test("one seed cannot show a spread", () => {
  const { places } = m.ranking([CURVES[0], CURVES[2]], "steps", 20);

  assert.equal(places[1].versusBetter, "unknown");
  assert.match(m.verdictWords(places[1], places[0], 2), /1\.000 behind place 1, but one seed shows no spread/);
});

test("a band reaches as far as all of its seeds", () => {
  const seeds = [CURVES[0], { ...CURVES[1], perStep: { steps: 1, flops: 1e9, seconds: 0.5 } }];
  const points = m.band(seeds, "seconds");

  assert.equal(points.at(-1).x, 10);
  assert.ok(points.every(({ low, mean, high }) => low <= mean && mean <= high));
});

test("amounts carry three digits and a unit", () => {
  assert.deepEqual(
    [m.amount(400.4, "steps"), m.amount(3.1e12, "flops"), m.amount(999.9e9, "flops"), m.amount(20, "seconds")],
    ["400 steps", "3.10 TFLOP", "1.00 TFLOP", "20.0 s"],
  );
});

test("a budget stays on its axis, and steps stay whole", () => {
  assert.deepEqual([m.settled(-3, "steps", 20), m.settled(7.4, "steps", 20), m.settled(99, "seconds", 60)], [1, 7, 60]);
  assert.equal(m.settled(-Infinity, "seconds", 60), 0.06);
});

test("the picture puts lower losses lower and later places to the right", () => {
  for (const logLoss of [false, true]) {
    const { x, y, box, most, place } = m.layout(CURVES, { axis: "seconds", logLoss }, 900);
    assert.ok(y(1) > y(2) && x(50) > x(10));
    assert.equal(most, 60);
    assert.equal(place(x(30)), 30);
    assert.ok(x(most) <= box.right);
  }
});

test("there is room for the longest name", () => {
  const named = [run("dense, equal active", 0, [4, 3, 2], 1e9, 1), run("short", 0, [4, 3, 2], 1e9, 1)];
  const { labels } = m.layout(named, { axis: "steps", logLoss: false }, 900);

  assert.equal(labels[0].text, "A  dense, equal active");
});
