import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/balance_replay.js";

const bytes = (array) => new DataView(array.buffer);
const data = {
  methods: [
    { name: "a", steps: [0, 10, 20], n_experts: 2, top_k: 1, validation_loss: [3, 2, 1], has_skill: false },
    { name: "b", steps: [0, 15], n_experts: 2, top_k: 1, validation_loss: null, has_skill: true },
  ],
  loads: bytes(new Float32Array([0.5, 0.5, 0.75, 0.25, 1, 0, 0.5, 0.5, 0.98, 0.02])),
  skills: bytes(new Float32Array([2, 1, 1.5, NaN])),
  choices: bytes(new Uint8Array([0, 1, 0, 1, 0, 0, 1, 1, 1, 0])),
  text: ["x", " "],
};

test("the bytes come apart method by method", () => {
  const [a, b] = m.unpack(data);

  assert.deepEqual(a.loads, [[0.5, 0.5], [0.75, 0.25], [1, 0]]);
  assert.deepEqual(a.choices, [[[0], [1]], [[0], [1]], [[0], [0]]]);
  assert.equal(a.skills, null);
  assert.deepEqual(b.skills, [[2, 1], [1.5, NaN]]);
  assert.deepEqual(b.choices, [[[1], [1]], [[1], [0]]]);
});

test("a step that was not recorded shows the last one that was", () => {
  assert.deepEqual([-5, 0, 14, 15, 99].map((step) => m.rowAt([0, 15], step)), [0, 0, 0, 1, 1]);
  assert.deepEqual(m.allSteps(m.unpack(data)), [0, 10, 15, 20]);
});

test("collapse has no entropy, and its busiest expert carries everything", () => {
  const panel = m.panelAt(m.unpack(data)[0], 20);

  assert.deepEqual([panel.entropy, panel.violation], [0, 1]);
  assert.deepEqual(panel.dead, [1]);
  assert.equal(m.loadEntropy([1]), 1, "a single expert cannot be uneven");
});

test("dead is below a tenth of the fair share, and not at it", () => {
  assert.deepEqual(m.deadExperts([0.5, 0.025, 0.475, 0]), [3]);
  assert.deepEqual(m.deadExperts([0.5, 0.024, 0.476, 0]), [1, 3]);
});

test("a route flips when its experts change, not when their order does", () => {
  const choices = [[[0, 1], [2, 3]], [[1, 0], [2, 1]]];

  assert.deepEqual(m.flipped(choices, 0), [false, false]);
  assert.deepEqual(m.flipped(choices, 1), [false, true]);
  assert.deepEqual(m.stretches(choices, 0), [{ from: 0, length: 2, route: [0, 1] }]);
});

test("the words name the dead and the range that balance does not close", () => {
  const [a, b] = m.unpack(data);

  assert.match(m.loadWords(m.panelAt(a, 20)), /2\.00 times its fair share\. 1 of 2 dead: 1\./);
  assert.match(m.skillWords(m.panelAt(b, 0)), /Almost equal load, and yet the experts' losses run from 1\.00 to 2\.00/);
  assert.equal(m.skillWords(m.panelAt(a, 0)), "");
  assert.match(m.sentence([a, b], { step: 20, method: "", token: 1, text: data.text }),
    /^Step 20\. a: .*token “␣” at expert 0; b: entropy/);
});

test("all bars share one scale, so that they can be compared", () => {
  assert.deepEqual(m.scales(m.unpack(data)), { load: 1, skill: 2 });
});

test("the key names the marks that are there", () => {
  const [a, b] = m.unpack(data);
  const many = { ...a, loads: [Array(16).fill(1 / 16)] };

  assert.ok(!m.keyWords([a]).includes("◆") && !m.keyWords([a]).includes("border:"));
  assert.ok(m.keyWords([a, b]).includes("◆: the loss of its tokens"));
  assert.ok(m.keyWords([many]).includes("dashed border: 8 to 15, in the same colours"));
  assert.ok(!m.keyWords([many]).includes("double border"));
  for (const mark of ["┆", "†", "dotted outline", "ring"]) assert.ok(m.keyWords([a]).includes(mark));
});
