import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const source = readFileSync(
  new URL("../../moe_teach/widgets/static_twin.js", import.meta.url),
  "utf8",
);
const { twinModel, toDataView } = new Function(`${source}; return { twinModel, toDataView };`)();

test("a change is reported once, with the new value", () => {
  const model = twinModel({ k: 1 });
  const seen = [];
  model.on("change:k", (_, value) => seen.push(value));

  model.set("k", 2);
  model.set("k", 2);

  assert.deepEqual(seen, [2]);
  assert.equal(model.get("k"), 2);
});

test("a list that is equal inside is no change", () => {
  const model = twinModel({ marks: [1, 2] });
  let changes = 0;
  model.on("change:marks", () => (changes += 1));

  model.set("marks", [1, 2]);
  model.set("marks", [1, 3]);

  assert.equal(changes, 1);
});

test("several traits change together and `change` fires once", () => {
  const model = twinModel({ a: 1, b: 1 });
  const seen = [];
  model.on("change:a change:b", (_, value) => seen.push([value, model.get("a"), model.get("b")]));
  model.on("change", () => seen.push("change"));

  model.set({ a: 5, b: 6 });

  assert.deepEqual(seen, [[5, 5, 6], [6, 5, 6], "change"]);
});

test("a listener that was taken off stays silent", () => {
  const model = twinModel({ a: 1 });
  let changes = 0;
  const count = () => (changes += 1);
  model.on("change:a", count);

  model.off("change:a", count);
  model.set("a", 2);

  assert.equal(changes, 0);
});

test("bytes arrive as a DataView", () => {
  const view = toDataView("AP8=");

  assert.equal(view.byteLength, 2);
  assert.equal(view.getUint8(1), 255);
});
