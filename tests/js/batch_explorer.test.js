import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../moe_teach/widgets/batch_explorer.js";

const base = {
  prompts: [3, 1, 5], answers: [2, 4, 1], nExperts: 16, topK: 2, gap: 0, nSlots: 2, budget: 4,
  plan: "continuous", step: 0,
};
const rows = (step) => step.reads.reduce((total, { nTokens }) => total + nTokens, 0);

test("every prompt is read once, and every answer has its tokens", () => {
  for (const plan of m.PLANS) {
    for (const nSlots of [1, 2, 5]) {
      const steps = m.stepsOf({ ...base, plan, nSlots });
      base.prompts.forEach((length, request) => {
        const own = steps.flatMap(({ reads }) => reads.filter((read) => read.request === request));
        const prompt = own.filter(({ isPrompt }) => isPrompt);
        assert.equal(prompt.reduce((total, { nTokens }) => total + nTokens, 0), length);
        assert.equal(own.length - prompt.length, base.answers[request] - 1);
      });
    }
  }
});

test("no step reads more of prompts than its budget, and no slot twice", () => {
  for (const step of m.stepsOf({ ...base, nSlots: 3, budget: 2 })) {
    const prompt = step.reads.filter(({ isPrompt }) => isPrompt);
    assert.ok(prompt.reduce((total, { nTokens }) => total + nTokens, 0) <= 2);
    assert.equal(new Set(step.reads.map(({ slot }) => slot)).size, step.reads.length);
  }
});

test("a batch at a time needs at least as many steps, and the same rows", () => {
  const [one, other] = m.PLANS.map((plan) => m.planOf({ ...base, plan, answers: [2, 9, 6] }).bill);
  assert.ok(one.steps < other.steps);
  assert.equal(one.rows, other.rows);
});

test("steps pass in which nobody is there", () => {
  const steps = m.stepsOf({ ...base, prompts: [1, 1], answers: [1, 1], gap: 5 });
  assert.deepEqual(steps.map(rows), [1, 0, 0, 0, 0, 1]);
  const state = { ...base, prompts: [1, 1], answers: [1, 1], gap: 5, step: 2 };
  assert.match(m.sentence(state, m.planOf(state)), /nobody is there/);
});

test("one row wakes top_k experts, and many wake nearly all", () => {
  assert.equal(m.woken(1, base), 2);
  assert.ok(m.woken(100, base) > 15.99 && m.woken(100, base) <= 16);
});

test("the words tell what is read, who waits and whom it wakes", () => {
  assert.match(m.sentence(base, m.planOf(base)),
    /Step 0 of \d+: 0 newest tokens and 4 tokens of prompts are read; 1 waits. The 4 rows wake 6.6 of 16 experts, 1.7 for each row/);
});

test("a step that is gone after a change gives way to the last one", () => {
  const plan = m.planOf({ ...base, step: 999 });
  assert.equal(plan.step, plan.all.length - 1);
});
