import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/route_explorer.js";

const bytes = (array) => new DataView(array.buffer);
const data = {
  texts: [
    { name: "a", domain: "x", tokens: ["p", "q"], has_loss: true, has_removed: true },
    { name: "b", domain: "", tokens: ["q"], has_loss: false, has_removed: false },
  ],
  layers: ["first", "last"],
  domains: ["x", "y"],
  views: ["trained", "untrained"],
  shape: { n_experts: 3, top_k: 1 },
  // of each text the trained router's, then the untrained one's; two layers a token
  ids: bytes(new Uint8Array([0, 1, 2, 0, 1, 1, 1, 1, 2, 2, 0, 0])),
  gates: bytes(new Float32Array(12).fill(1)),
  margins: bytes(new Float32Array([4, 1, 2, 3, 9, 9, 9, 9, 3, 0.5, 9, 9])),
  losses: bytes(new Float32Array([NaN, 2, ...Array(6).fill(NaN), 2.5, 2, 2, 2, 2, 1])),
  counts: bytes(new Float32Array([4, 0, 0, 4, 0, 0, 1, 1, 1, 1, 1, 1, ...Array(12).fill(2)])),
  damage: bytes(new Float32Array([0.5, 0, 0, 0.25, -0.25, 0, ...Array(6).fill(0)])),
};

test("the bytes come apart text by text, router by router, token by token", () => {
  const { texts: [a, b], counts, damage } = m.unpack(data);

  assert.deepEqual(a.trained.ids, [[[0], [1]], [[2], [0]]]);
  assert.deepEqual(a.untrained.ids, [[[1], [1]], [[1], [1]]]);
  assert.deepEqual(b.trained.margins, [[3, 0.5]]);
  assert.deepEqual(a.removed[1], [[2.5, 2, 2], [2, 2, 1]]);
  assert.equal(b.loss, null);
  assert.deepEqual(counts.trained[0], [[4, 0], [0, 4], [0, 0]]);
  assert.deepEqual(damage[0], [[0.5, 0], [0, 0.25], [-0.25, 0]]);
  assert.equal(m.unpack({ ...data, damage: bytes(new Float32Array()) }).damage, null);
});

test("an expert of its own tells a whole bit of two domains, and a shared one nothing", () => {
  const { counts } = m.unpack(data);

  assert.equal(m.bitsAbout(counts.trained[0]), 1);
  assert.equal(m.bitsAbout(counts.trained[1]), 0);
  assert.deepEqual(m.loadOf(counts.trained[0]), [0.5, 0.5, 0]);
  assert.equal(m.mixOf([0, 0]), null, "an expert without tokens has no domains");
});

test("paths part by other experts, not by another order, and only where tokens are shared", () => {
  const first = { ids: [[[0, 1]], [[2, 3]], [[4, 5]]] };
  const second = { ids: [[[1, 0]], [[9, 9]], [[3, 7]]] };
  const parts = m.partings(first, second, [[0, 0], [1, 2]]);

  assert.deepEqual(parts, [[0], [0.5], null]);
  assert.deepEqual(m.divergence(parts, 1), [0.25]);
});

test("a pair can be read from both its sides", () => {
  const pairs = [{ first: "a", second: "b", places: [[1, 0]] }];

  assert.deepEqual(m.partners(pairs, "a", "b"), [[1, 0]]);
  assert.deepEqual(m.partners(pairs, "b", "a"), [[0, 1]]);
  assert.deepEqual([m.beside(pairs, "a"), m.beside(pairs, "b"), m.beside(pairs, "c")], [["b"], ["a"], []]);
});

test("the largest is first, and equals share their place", () => {
  assert.deepEqual([3, 5, 5, 1].map((_, i, all) => m.placeOf(all, i)), [3, 1, 1, 4]);
});

test("a margin is held against those of all texts at its layer", () => {
  const { texts } = m.unpack(data);
  const sorted = m.marginsAt(texts, "trained", 1);

  assert.deepEqual(sorted, [0.5, 1, 3]);
  assert.equal(m.surer(3, sorted), 2 / 3);
  assert.equal(m.surer(Infinity, [Infinity]), 1, "with nobody left out there is nothing closer");
});

const state = {
  token: 1, layer: 0, layers: data.layers, domains: data.domains, expert: 0, knocked: true, view: "trained", noise: 0.1,
};

test("a token tells its gates, its margin and what the knock-out costs it", () => {
  const { texts } = m.unpack(data);
  const said = m.tokenWords(state, texts[0], "trained", [1, 2, 3, 4]);

  assert.match(said, /“q”, token 1, layer first: expert 2 \(gate 1\.00\)\./);
  assert.match(said, /is 2\.00, larger than 25 % of the margins/);
  assert.match(said, /costs 2\.00 nats, and 2\.50 without expert 0\.$/);
  const all = { ids: [[[0]]], gates: [[[1]]], margins: [[Infinity]] };
  assert.match(m.tokenWords({ ...state, token: 0 }, { tokens: ["x"], trained: all }, "trained", [Infinity]), /Nobody is left out\.$/);
  assert.match(m.tokenWords({ ...state, token: 0 }, texts[0], "trained", [1]), /nothing predicts it/);
  assert.doesNotMatch(m.tokenWords({ ...state, token: 0 }, texts[1], "trained", [1]), /nats|predict/);
});

test("an expert tells its load beside its damage, and keeps quiet about noise", () => {
  const { counts, damage } = m.unpack(data);
  const words = (updates) => m.expertWords({ ...state, ...updates }, counts.trained[0], damage[0]);

  assert.equal(words({}), "Expert 0 takes 50 % of the choices, place 1 of 3. Taking it away changes the loss by +0.50 in x: place 1 of 3 by mean damage.");
  assert.match(words({ expert: 2 }), /changes the loss by −0\.25 in x: place 3 of 3/);
  assert.match(words({ expert: 2, noise: 0.3 }), /changes no loss by more than 0\.3 nats: place 3 of 3/);
  assert.match(words({ view: "untrained" }), /trained model only/);
  assert.match(words({ expert: -1 }), /Choose an expert/);
  assert.equal(words({ knocked: false }), "Expert 0 takes 50 % of the choices, place 1 of 3.");
});

test("a pair is told beside its reference", () => {
  const said = m.pairWords({ second: "b", layer: 0, layers: ["first"] }, [[0.5], null], [{ name: "two random texts", mean: [0.8] }]);

  assert.match(said, /50 % of the choices of shared tokens differ at layer first; it is 80 % in two random texts\.$/);
});

test("of many experts a token names the first three", () => {
  assert.deepEqual([m.shortly([7]), m.shortly([1, 2, 3]), m.shortly([1, 2, 3, 4])], ["7", "1·2·3", "1·2·3…"]);
});

test("nothing has a sign", () => {
  assert.deepEqual([m.signed(0.004), m.signed(-0.004), m.signed(-0.5), m.signed(1)], ["0.00", "0.00", "−0.50", "+1.00"]);
});

test("only marks in use are named", () => {
  assert.match(m.keyWords({ knocked: false, second: "" }, 16), /dashed border: 8 to 15/);
  assert.doesNotMatch(m.keyWords({ knocked: false, second: "" }, 8), /border|signed|≠/);
  assert.match(m.keyWords({ knocked: true, second: "b" }, 8), /signed.*≠/);
});

test("the plan knows the partner of every token, before the difference too", () => {
  const texts = m.unpack(data).texts;
  texts[1] = { ...texts[0], name: "b", tokens: ["p", "r"] };
  const plan = m.planOf({ ...state, text: "a", second: "b", pairs: [{ first: "a", second: "b", places: [] }] }, { texts });

  assert.equal(plan.begin, 1);
  assert.deepEqual([...plan.across], [[0, 0]]);
  assert.deepEqual([...plan.differs], []);
});

test("only what has parted at this layer is marked in the second text", () => {
  const routes = (...ids) => ({ ids: ids.map((id) => [[id], [0]]), margins: ids.map(() => [1, 1]) });
  const texts = [
    { name: "a", tokens: ["x", "p", "q"], trained: routes(0, 1, 2) },
    { name: "b", tokens: ["y", "z", "p", "q"], trained: routes(0, 3, 1, 4) },
  ];
  const pairs = [{ first: "a", second: "b", places: [[1, 2], [2, 3]] }];
  const differs = (layer) => [...m.planOf({ ...state, layer, text: "a", second: "b", pairs }, { texts }).differs];

  assert.deepEqual([differs(0), differs(1)], [[3], []]);
});

test("a token and a second text that do not belong to a text are let go", () => {
  const texts = [{ name: "a", tokens: ["p"] }, { name: "b", tokens: ["p", "q"] }, { name: "c", tokens: ["p"] }];
  const fit = (updates) => {
    const { second, token } = m.fitted({ text: "a", second: "", token: 0, pairs: [{ first: "a", second: "b" }], ...updates }, { texts });
    return [second, token];
  };

  assert.deepEqual(fit({ token: 9 }), ["", 0]);
  assert.deepEqual(fit({ second: "b", token: -1 }), ["b", -1]);
  assert.deepEqual(fit({ second: "c" }), ["", 0]);
});
