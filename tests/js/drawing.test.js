import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/drawing.js";

/** A model that keeps what was set and who listens. */
function modelOf(state) {
  const listeners = {};
  return {
    state,
    listeners,
    saved: 0,
    set(name, value) { state[name] = value; },
    save_changes() { this.saved += 1; },
    on(event, callback) { listeners[event] = callback; },
    off(event, callback) { if (listeners[event] === callback) delete listeners[event]; },
  };
}

/** What `mount` needs of a page. */
const pageOf = () => ({ root: { addEventListener() {} }, el: { children: [], append(child) { this.children.push(child); } } });

test("labels are moved apart and keep their order", () => {
  assert.deepEqual(m.spread([10, 11, 50], 15), [10, 25, 50]);
  assert.deepEqual(m.spread([30, 10], 15), [30, 10]);
});

test("labels move apart and stay above the floor", () => {
  const placed = m.spread([100, 101, 99], 16, 110);

  const sorted = [...placed].sort((a, b) => a - b);
  assert.ok(sorted[1] - sorted[0] >= 16 && sorted[2] - sorted[1] >= 16);
  assert.ok(sorted[2] <= 110);
});

test("bytes that begin where no number may are copied to where one may", () => {
  const buffer = new ArrayBuffer(5);
  new DataView(buffer).setFloat32(1, 0.5, true);

  assert.deepEqual([...new Float32Array(m.copied(new DataView(buffer, 1)))], [0.5]);
});

test("several traits are saved by one message, under the names that Python gives them", () => {
  const model = modelOf({});

  m.save(model, { topK: 2, noise: 0.5 }, { topK: "top_k" });

  assert.deepEqual(model.state, { top_k: 2, noise: 0.5 });
  assert.equal(model.saved, 1);
});

test("a mounted widget is on the page before it is first drawn, and once", () => {
  const [{ root, el }, drawn] = [pageOf(), []];

  m.mount({ model: modelOf({}), el }, root, ["a"], () => drawn.push([...el.children]));

  assert.deepEqual(drawn, [[root]]);
});

test("every named trait is listened to until the widget goes", () => {
  const [{ root, el }, model] = [pageOf(), modelOf({})];
  const calls = { update: 0, changed: 0 };

  const unmount = m.mount({ model, el }, root, ["a", "b"], () => (calls.update += 1), () => (calls.changed += 1));
  assert.deepEqual(Object.keys(model.listeners), ["change:a", "change:b"]);
  model.listeners["change:a"]();
  assert.deepEqual(calls, { update: 1, changed: 1 });

  unmount();
  assert.deepEqual(model.listeners, {});
});

test("many changes before the next frame are drawn once, and none after the end", () => {
  const waiting = new Map();
  globalThis.requestAnimationFrame = (callback) => { waiting.set(waiting.size + 1, callback); return waiting.size; };
  globalThis.cancelAnimationFrame = (id) => waiting.delete(id);
  const update = () => {};
  const { schedule, cancel } = m.oncePerFrame(update);

  schedule();
  schedule();
  assert.deepEqual([...waiting.values()], [update]);

  cancel();
  assert.equal(waiting.size, 0);
});

test("white space that stands alone is shown, and an empty token too", () => {
  assert.deepEqual([" the", "  ", "\n", " a\n", ""].map(m.visible), [" the", "␣␣", "↵", " a↵", "∅"]);
});

test("arrow keys walk to the ends and no further; other keys are left alone", () => {
  const went = [];
  const press = (key, place) => m.arrowKeys({ key, preventDefault() {}, stopPropagation() {} }, place, 4, (to) => went.push(to));
  [["ArrowLeft", 0], ["ArrowDown", 2], ["ArrowRight", 4], ["Home", 3], ["End", 1], ["a", 2]].forEach(([key, place]) => press(key, place));

  assert.deepEqual(went, [0, 3, 4, 0, 4]);
});

test("experts beyond the palette repeat its colours with another border", () => {
  assert.deepEqual(m.look(3), { style: "--hue: var(--expert-3)", "data-round": 0 });
  assert.deepEqual(m.look(19), { style: "--hue: var(--expert-3)", "data-round": 2 });
});
