import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/deploy/server/page/page.js";

test("events are cut where they end, wherever the network cut them", () => {
  const whole = 'data: {"a":1}\n\n: ping\n\ndata: [DONE]\n\n';
  for (let cut = 0; cut <= whole.length; cut += 1) {
    const first = m.eventsIn(whole.slice(0, cut));
    const second = m.eventsIn(first.rest + whole.slice(cut));
    assert.deepEqual([...first.data, ...second.data], ['{"a":1}', "[DONE]"], `cut at ${cut}`);
    assert.equal(second.rest, "");
  }
});

test("what cannot be seen is written with a sign", () => {
  assert.equal(m.visible(" the"), "␣the");
  assert.equal(m.visible("a b\n"), "a b↵");
  assert.equal(m.visible(""), "◌");
});

test("the load counts a layer's experts, busiest first and then by number", () => {
  const tokens = [{ experts: [[0, 1], [5, 2]] }, { experts: [[0, 1], [2, 3]] }];
  assert.deepEqual(m.loadOf(tokens, 1).map(({ expert, count }) => [expert, count]), [[2, 2], [3, 1], [5, 1]]);
  assert.equal(m.loadOf(tokens, 0)[0].share, 0.5);
  assert.deepEqual(m.loadOf([{ experts: [] }], 0), []);
});

test("a token is read aloud with its experts", () => {
  assert.equal(m.spoken({ token: "a\n", experts: [[3, 1]] }, 0), 'token "a\\n", experts 3 and 1 in layer 0');
});
