import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/expert_shelf.js";

const fixed = {
  slots: ["left", "right"],
  modules: [
    { name: "own", domain: "all", trunk: "a1", note: "", refusals: ["", ""] },
    { name: "code", domain: "code", trunk: "a1", note: "", refusals: ["made for right", ""] },
    { name: "stranger", domain: "code", trunk: "b2", note: "", refusals: ["another trunk", "another trunk"] },
  ],
  start: ["own", ""],
  domains: ["code", "prose"],
  combinations: [["own", ""], ["own", "code"], ["own", "stranger"]],
  nSeeds: 2,
  losses: new DataView(new Float64Array([
    2, 3, 2.2, 3.2, NaN, NaN, NaN, NaN,
    1.5, 3, 1.6, 3.3, 2, 3, 2.2, 3.2,
    4, 5, 4, 5, NaN, NaN, NaN, NaN,
  ]).buffer),
};
const measured = m.unpack(fixed);
const state = { ...fixed, contents: ["own", ""], held: "", tried: [], rolled: [], force: false, noise: 0.1 };
const after = (updates) => ({ ...state, ...updates });

test("losses come apart by combination, seed and domain, and a roll-back nobody measured is none", () => {
  assert.deepEqual(measured[1], { contents: ["own", "code"], loss: [[1.5, 3], [1.6, 3.3]], back: [[2, 3], [2.2, 3.2]] });
  assert.equal(measured[0].back, null);
  assert.equal(m.measuredOf(measured, ["code", "own"]), null);
});

test("a module goes into a slot that takes it, and what was rolled back is forgotten", () => {
  assert.deepEqual(m.install(after({ held: "code", rolled: ["own", "code"] }), "code", 1),
    { contents: ["own", "code"], rolled: [], tried: [], held: "" });
});

test("a refusal leaves the slots alone, unless it is overruled", () => {
  assert.deepEqual(m.install(state, "code", 0), { tried: ["code", "left"], held: "" });
  assert.deepEqual(m.install(after({ force: true }), "stranger", 1).contents, ["own", "stranger"]);
  assert.equal(m.refusalOf(after({ start: ["stranger", ""] }), "stranger", 0), "", "what came with the model is not asked");
});

test("one comes out alone, or all with one roll-back", () => {
  const full = after({ contents: ["code", "stranger"] });

  assert.deepEqual(m.takeOut(full, 1).contents, ["code", ""]);
  assert.deepEqual(m.rollBack(full), { rolled: ["code", "stranger"], contents: ["own", ""], tried: [], held: "" });
  assert.deepEqual(m.cleaned(full), ["own", ""]);
});

test("changes are means over seeds, with the seeds that agree", () => {
  const [code, prose] = m.rowsOf(measured[0].loss, measured[1].loss, fixed.domains);

  assert.ok(Math.abs(code.change + 0.55) < 1e-12);
  assert.equal(code.agree, 2);
  assert.ok(Math.abs(prose.change - 0.05) < 1e-12);
  assert.equal(prose.agree, 1);
  assert.deepEqual([code.after.low, code.after.high], [1.5, 1.6]);
  assert.equal(m.rowsOf(measured[0].loss, null, fixed.domains)[0].change, null);
});

test("the line says who gains, who loses, and who stays", () => {
  const rows = (...changes) => changes.map((change, i) => ({ domain: "abc"[i], change }));

  assert.equal(m.effectWords(rows(-1.5, 0.25, 0.001), 0.01), "a (−1.50) gains; b (+0.25) loses; one domain does not move by more than 0.01.");
  assert.equal(m.effectWords(rows(1, 2), 0.01), "a (+1.00) and b (+2.00) lose.");
  assert.equal(m.effectWords(rows(0, 0.01), 0.01), "No domain moves by more than 0.01 nats.");
});

test("every state has its sentence", () => {
  const say = (updates) => m.sentence(after(updates), measured);

  assert.match(say({}), /as it was/);
  assert.equal(say({ tried: ["stranger", "left"] }), "Refused: another trunk");
  assert.match(say({ held: "code" }), /You hold code/);
  assert.equal(say({ contents: ["own", "code"] }), "With code in right: code (−0.55) gains; one domain does not move by more than 0.1.");
  assert.match(say({ contents: ["code", "code"] }), /With code in left and code in right: not measured\./);
  assert.match(say({ rolled: ["own", "code"] }), /to the last digit/);
  assert.match(say({ rolled: ["own", "stranger"] }), /afterwards was not measured/);
  assert.match(m.sentence(after({ rolled: ["own", "code"] }), measured.map((entry, i) => (i === 1 ? { ...entry, back: [[2, 3.25], [2.2, 3.2]] } : entry))), /further than 0\.3 nats/);
});

test("a slot says what it would do with the module in the hand", () => {
  const offers = (updates) => [0, 1].map((slot) => m.offer(after(updates), measured, slot));

  assert.deepEqual(offers({}), ["", ""]);
  assert.deepEqual(offers({ held: "code" }), ["does not fit", "put it here: measured"]);
  assert.deepEqual(offers({ held: "code", force: true }), ["put it here: not measured", "put it here: measured"]);
});

test("the scale has round ticks around everything that is shown", () => {
  for (const values of [[1.31, 3.4], [0.2, 12], [2, 2], [-0.03, 0.4]]) {
    const { low, high, ticks, step } = m.scaleOf(values);
    assert.ok(low <= Math.min(...values) + 1e-9 && high >= Math.max(...values) - 1e-9, `${values}`);
    assert.ok(ticks.length >= 2 && ticks.length <= 8, `${ticks}`);
    assert.ok([1, 2, 5].includes(Number((step / 10 ** Math.floor(Math.log10(step) + 1e-9)).toFixed(6))));
  }
});

test("a change inside the noise has no sign", () => {
  assert.deepEqual([m.signed(0.01, 0.01), m.signed(-0.02, 0.01), m.signed(1.234, 0.01)], ["±0", "−0.020", "+1.23"]);
});

test("trunks are told by their plugs, the model's own first", () => {
  assert.deepEqual(m.trunksOf({ ...fixed, trunk: "b2" }), ["b2", "a1"]);
});
