import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/cache_replay.js";

/** Requests of one layer with four experts, one step each. */
const asking = (...needs) => needs.map((needed, step) => ({ step, layer: 0, needed, ahead: [] }));
const through = (asks, updates) =>
  m.replay(asks, { policy: "LRU", room: 2, distance: 0, pinned: [], nLayers: 1, ...updates });
const misses = (events) => events.map((event) => event.misses);

test("LRU throws out whoever has not been asked for longest", () => {
  assert.deepEqual(misses(through(asking([0], [1], [0], [2], [0], [1]))), [[0], [1], [], [2], [], [1]]);
});

test("LFU keeps what was once in demand, and the optimum knows better", () => {
  const asks = asking([0], [0], [1], [2], [1], [2], [1], [2]);

  assert.deepEqual(misses(through(asks, { policy: "LFU" })), [[0], [], [1], [2], [1], [2], [], []]);
  assert.deepEqual(misses(through(asks, { policy: "optimum" })), [[0], [], [1], [2], [], [], [], []]);
});

test("the pinned stay, and the others pass by", () => {
  const events = through(asking([0], [1], [2], [0], [1], [0]), { policy: "pinned", pinned: [0] });

  assert.deepEqual(misses(events), [[0], [1], [2], [], [1], []]);
  assert.ok(events.slice(1).every(({ held }) => held.has(0)));
});

test("those in memory serve before anybody makes room", () => {
  const [, second] = through(asking([0, 1], [1, 2, 3]));

  assert.deepEqual(second.hits, [1]);
  assert.deepEqual(second.misses, [2, 3]);
});

test("memory is never fuller than its room", () => {
  for (const policy of m.POLICIES) {
    const events = through(asking([0, 1], [2, 3], [0, 3], [1, 2]), { policy, pinned: [0], room: 3 });
    assert.ok(events.every(({ held }) => held.size <= 3), policy);
  }
});

test("what was read ahead is told apart, right or wrong", () => {
  const asks = [
    { step: 0, layer: 0, needed: [0], ahead: [[]] }, { step: 0, layer: 1, needed: [5], ahead: [[5]] },
    { step: 1, layer: 0, needed: [0], ahead: [[]] }, { step: 1, layer: 1, needed: [6], ahead: [[7]] },
  ];
  const events = through(asks, { nLayers: 2, room: 3, distance: 1 });

  assert.deepEqual(events.map(({ inTime }) => inTime), [[], [5], [], []]);
  assert.deepEqual(events.map(({ wasted }) => wasted), [[], [], [], [7]]);
  assert.deepEqual(misses(events), [[0], [], [], [6]]);
});

test("a guess throws out nobody who is at work, and is dropped where nobody else is there", () => {
  const asks = [
    { step: 0, layer: 0, needed: [0, 1], ahead: [[]] }, { step: 0, layer: 1, needed: [5], ahead: [[4]] },
  ];
  const [first, second] = through(asks, { nLayers: 2, distance: 1 });

  assert.deepEqual([...first.held], [0, 1]);
  assert.deepEqual(second.wasted, []);
});

test("waiting is paid in full, reading ahead hides behind the work", () => {
  const event = { hits: [], inTime: [1], misses: [2], wasted: [3] };
  const state = { expertBytes: 100, link: 100, memory: 50, topK: 1, nLayers: 2 };
  const bill = m.billOf([event], 1, state);

  assert.equal(bill.moved, 300);
  assert.equal(bill.rate, 0.5);
  assert.equal(bill.seconds, 1 + 4); // a miss, and the longer of two read ahead and two computed
});

test("bytes, times and shares have units that fit", () => {
  assert.equal(m.spelt(49_152), "49 kB");
  assert.equal(m.spelt(1_500_000), "1.5 MB");
  assert.equal(m.timed(0.0000042), "4.2 µs");
  assert.equal(m.percent(0.456), "46 %");
});

test("a window holds the token that is looked at", () => {
  assert.deepEqual(m.windowOf(50, 256), { first: 48, count: 48 });
  assert.deepEqual(m.windowOf(255, 256), { first: 208, count: 48 });
  assert.deepEqual(m.windowOf(3, 7), { first: 0, count: 7 });
});

test("one request in words", () => {
  const event = { hits: [17], inTime: [18], misses: [], wasted: [], out: [3] };

  assert.equal(m.sentence(event, { token: 4, layer: 1, nExperts: 16 }),
    "Token 4, layer 1: expert 1 was there; 2 was read ahead. 1 made room.");
});
