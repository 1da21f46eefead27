import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/router_playground.js";

const state = {
  token: [1, 0],
  experts: [[1, 0], [0, 1], [-1, 0]],
  expertBias: [0, 0, 0],
  temperature: 1,
  noise: 0,
  seed: 0,
  training: false,
  topK: 2,
  scoreFn: "softmax",
  topkFirst: false,
  normalizeGates: true,
};
const routeOf = (changes) => {
  const changed = { ...state, ...changes };
  return m.route(m.logitsOf(changed), changed);
};

test("of two equal experts the first one wins", () => {
  assert.deepEqual(m.topK([0.5, 0.5, 0.5], 2), [0, 1]);
});

test("a bias changes who is chosen and no gate of those who stay", () => {
  const before = routeOf({ normalizeGates: false });
  const after = routeOf({ normalizeGates: false, expertBias: [0, -1, 0] });

  assert.deepEqual(before.expertIds, [0, 1]);
  assert.deepEqual(after.expertIds, [0, 2]);
  assert.equal(after.gates[0], before.gates[0]);
});

test("the same bias for everybody changes nothing", () => {
  const { expertIds, gates } = routeOf({});
  const shifted = routeOf({ expertBias: [0.3, 0.3, 0.3] });

  assert.deepEqual(shifted.expertIds, expertIds);
  assert.deepEqual(shifted.gates, gates);
});

test("a single renormalised gate cannot learn from the task", () => {
  const alone = { ...state, topK: 1 };

  assert.equal(m.gateSlope(m.logitsOf(alone), alone), 0);
  assert.ok(m.gateSlope(m.logitsOf(alone), { ...alone, normalizeGates: false }) > 0.1);
});

test("noise sleeps outside training, and the seed repeats it", () => {
  const noisy = { ...state, noise: 1 };

  assert.deepEqual(m.tokenNoise(noisy), [0, 0, 0]);
  assert.deepEqual(
    m.tokenNoise({ ...noisy, training: true }),
    m.tokenNoise({ ...noisy, training: true }),
  );
  assert.notDeepEqual(
    m.tokenNoise({ ...noisy, training: true }),
    m.tokenNoise({ ...noisy, training: true, seed: 1 }),
  );
});

test("normal numbers have mean 0 and variance 1", () => {
  const draws = m.normals(7, 20000);
  const mean = draws.reduce((a, b) => a + b, 0) / draws.length;
  const variance = draws.reduce((a, b) => a + (b - mean) ** 2, 0) / draws.length;

  assert.ok(Math.abs(mean) < 0.03, `mean ${mean}`);
  assert.ok(Math.abs(variance - 1) < 0.05, `variance ${variance}`);
});

test("every cell of the plane belongs to exactly k experts", () => {
  const sets = m.regions(state, 20);

  assert.equal(sets.length, 400);
  assert.ok([...sets].every((set) => m.members(set).length === 2));
});

test("the margin is the step from the last chosen to the first left out", () => {
  const { selection, order, margin } = routeOf({});

  assert.equal(margin, selection[order[1]] - selection[order[2]]);
  assert.equal(routeOf({ topK: 3 }).margin, null);
});

test("a sum of gates above 1 is not drawn as wide as one of 1", () => {
  const results = m.compareRules({ ...state, scoreFn: "sigmoid", topK: 3 });
  const most = m.longest(results);

  assert.equal(most, Math.max(...results.map(({ total }) => total)));
  assert.ok(most > 1.3);
  assert.equal(m.longest([{ total: 0.2 }, { total: 0.9 }]), 1);
});

test("the words say that no gate contains a bias, not that an expert is missing", () => {
  const words = m.sentence({ ...state, expertBias: [0, 0, 1] });

  assert.match(words, /Only the bias brings in expert 2; no gate contains a bias\./);
});

test("borders are drawn at twice the resolution, as if every point had been routed", () => {
  const crowd = { ...state, experts: [[1.4, 0.3], [0.3, 1.3], [-1.1, 0.7], [-0.7, -1.1], [0.9, -1]],
    expertBias: [0, 0.1, 0, -0.1, 0] };
  const coarse = m.regions(crowd, 60);
  const [fine, all] = [m.refined(crowd, coarse, 60), m.regions(crowd, 120)];
  const wrong = fine.filter((set, cell) => set !== all[cell]).length;
  const copied = fine.filter((_, cell) =>
    coarse[Math.floor(cell / 240) * 60 + Math.floor((cell % 120) / 2)] !== all[cell]).length;

  assert.ok(wrong <= 2, `${wrong} of ${copied} cells are still those of the coarse picture`);
  assert.ok(copied > 50);
});
