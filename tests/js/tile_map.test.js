import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/tile_map.js";

const base = {
  tokensPerExpert: [5, 0, 3], nColumns: 8, blockRows: 4, blockColumns: 4, skew: 0,
  order: "along the columns", atOnce: 2, program: 0,
};

test("no tile holds rows of two experts, and an expert without rows has none", () => {
  assert.deepEqual(m.rowTiles([5, 0, 3], 4), [
    { expert: 0, start: 0, nRows: 4 }, { expert: 0, start: 4, nRows: 1 }, { expert: 2, start: 5, nRows: 3 },
  ]);
});

test("every order visits every tile once", () => {
  for (const order of m.ORDERS) {
    for (const [rows, columns] of [[1, 1], [3, 2], [9, 3], [4, 5]]) {
      const seen = new Set(m.programsOf(rows, columns, order).map(String));
      assert.equal(seen.size, rows * columns, order);
    }
  }
});

test("the first order walks the columns, the second the rows, the third a group of rows", () => {
  assert.deepEqual(m.programsOf(2, 2, m.ORDERS[0]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
  assert.deepEqual(m.programsOf(2, 2, m.ORDERS[1]), [[0, 0], [1, 0], [0, 1], [1, 1]]);
  assert.deepEqual(m.programsOf(5, 2, m.ORDERS[2]).slice(3, 6), [[3, 0], [0, 1], [1, 1]]);
});

test("skew moves rows to the first expert and loses none", () => {
  assert.deepEqual(m.countsOf({ tokensPerExpert: [2, 2, 2], skew: 100 }), [6, 0, 0]);
  assert.deepEqual(m.countsOf({ tokensPerExpert: [0, 3, 4], skew: 50 }), [4, 1, 2]);
});

test("one row per tile pads nothing and loads the matrices again and again", () => {
  const fine = m.planOf({ ...base, blockRows: 1, atOnce: 1 });
  const coarse = m.planOf({ ...base, blockRows: 8, atOnce: 1 });

  assert.equal(fine.computed, fine.rows);
  assert.ok(coarse.computed > coarse.rows);
  assert.ok(fine.loaded > coarse.loaded);
});

test("with all programs at once everything is loaded once", () => {
  const plan = m.planOf({ ...base, atOnce: 64 });

  assert.equal(plan.loaded, plan.least);
});

test("the words tell whose tile it is, what is padding, and what the wave shares", () => {
  const state = { ...base, program: 2 };

  assert.match(m.sentence(state, m.planOf(state)),
    /Program 2 of 6: expert 0, sorted row 4, columns 0 to 3; 3 of its 4 rows are padding.*1 row tile and 2 blocks/);
});

test("a program that is gone after a change gives way to the last one", () => {
  assert.equal(m.planOf({ ...base, program: 99 }).program, 5);
});
