// The batch explorer: requests in slots, what each step reads, and how many experts that wakes.
// Nothing here asks Python. Every name read with model.get is a trait there.

import { draw, make, mount, namedNumbers, oneOf, save, scrollBox, slider } from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

export const PLANS = ["continuous", "a batch at a time"];

const sum = (values) => values.reduce((a, b) => a + b, 0);
const range = (n) => Array.from({ length: n }, (_, i) => i);

/** Who gets a free slot now; `running` maps requests to slots and is added to. */
function admit({ nSlots, gap, plan }, queue, running, now) {
  if (plan !== PLANS[0] && running.size) return;
  const free = range(nSlots).filter((slot) => ![...running.values()].includes(slot));
  while (free.length && queue.length && queue[0] * gap <= now) running.set(queue.shift(), free.shift());
}

/** All steps: what is read (slot, request, tokens, of a prompt or not), and who waits. */
export function stepsOf(state) {
  const { prompts, answers, gap, budget } = state;
  const [nRead, nSaid] = [prompts.map(() => 0), prompts.map(() => 0)];
  const [queue, running, steps] = [range(prompts.length), new Map(), []];
  while (queue.length || running.size) {
    admit(state, queue, running, steps.length);
    let left = budget;
    const reads = [...running].map(([request, slot]) => {
      const unread = prompts[request] - nRead[request];
      const nTokens = unread ? Math.min(left, unread) : 1;
      left -= unread ? nTokens : 0;
      return { slot, request, nTokens, isPrompt: unread > 0 };
    }).filter(({ nTokens }) => nTokens > 0);
    steps.push({ reads, nWaiting: queue.filter((request) => request * gap <= steps.length).length });
    reads.forEach(({ request, nTokens, isPrompt }) => {
      nRead[request] += isPrompt ? nTokens : 0;
      nSaid[request] += nRead[request] === prompts[request] ? 1 : 0;
      if (nSaid[request] === answers[request]) running.delete(request);
    });
  }
  return steps;
}

/** Experts of a layer that so many rows wake, when all choose evenly. */
export const woken = (nRows, { nExperts, topK }) => nExperts * (1 - (1 - topK / nExperts) ** nRows);

const rowsOf = (step) => sum(step.reads.map(({ nTokens }) => nTokens));

/** Everything that the picture and the numbers need of a state. */
export function planOf(state) {
  const steps = stepsOf(state);
  const busy = steps.map(rowsOf).filter((rows) => rows > 0);
  const fetched = sum(busy.map((rows) => woken(rows, state)));
  return {
    all: steps,
    step: Math.min(state.step, steps.length - 1),
    bill: {
      steps: steps.length, rows: sum(busy), tallest: Math.max(...busy),
      fetched: fetched / busy.length, each: fetched / sum(state.answers),
    },
  };
}

const some = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

/** The chosen step in words, for the line above the picture and for screen readers. */
export function sentence(state, plan) {
  const { reads, nWaiting } = plan.all[plan.step];
  const rows = rowsOf(plan.all[plan.step]);
  if (!rows) return `Step ${plan.step} of ${plan.all.length}: nobody is there, and nothing is read.`;
  const prompt = sum(reads.filter(({ isPrompt }) => isPrompt).map(({ nTokens }) => nTokens));
  const awake = woken(rows, state);
  return [
    `Step ${plan.step} of ${plan.all.length}: ${some(reads.filter(({ isPrompt }) => !isPrompt).length, "newest token")}`,
    `and ${some(prompt, "token")} of prompts are read; ${nWaiting} wait${nWaiting === 1 ? "s" : ""}.`,
    `The ${some(rows, "row")} wake${rows === 1 ? "s" : ""} ${awake.toFixed(1)} of ${state.nExperts} experts,`,
    `${(awake / rows).toFixed(1)} for each row.`,
  ].join(" ");
}

// ---- drawing ----------------------------------------------------------------------------------

const HUES = 7;
const [WIDTH, LEFT, TOP] = [900, 70, 24];
const [TABLE, BARS] = [230, 120];

function buildControls(change) {
  const gap = slider("steps between arrivals", { min: 0, max: 8 }, (steps) => change({ gap: steps }));
  const slots = slider("slots", { min: 1, max: 12 }, (count) => change({ nSlots: count }));
  const budget = slider("prompt tokens a step", { min: 1, max: 32 }, (count) => change({ budget: count }));
  const step = slider("look at step", { min: 0 }, (id) => change({ step: id }));
  const plan = oneOf("plan", PLANS.map((name) => [name, name]), (name) => change({ plan: name }));
  const parts = [gap, slots, budget, step];
  return {
    node: make("div", { class: "controls" }, ...parts.map(({ node }) => node), plan.node),
    update(state, now) {
      gap.update(state.gap);
      slots.update(state.nSlots);
      budget.update(state.budget);
      step.update(now.step, String(now.step), now.all.length - 1);
      plan.update(state.plan);
    },
  };
}

function cell({ slot, request, nTokens, isPrompt }, x, width, height) {
  const box = { x, y: TOP + slot * height, width: Math.max(width - 1, 1), height: Math.max(height - 2, 2) };
  const parts = [draw("rect", { ...box, class: `cell hue${request % HUES}` })];
  if (isPrompt) parts.push(draw("rect", { ...box, class: "prompt" }));
  const text = isPrompt ? `${request}: ${nTokens}` : String(request);
  if (width > 6 + 7 * text.length && height > 13) {
    parts.push(draw("text", { class: "who", x: x + width / 2 - 0.5, y: box.y + box.height / 2 + 4 }, text));
  }
  return draw("g", {}, ...parts);
}

/** One step: its cells, the bar of its rows, the mark of its experts, and what is clicked. */
function column(i, state, plan, sizes, onPick) {
  const { width, height, tallest } = sizes;
  const [step, x, foot] = [plan.all[i], LEFT + i * width, TOP + TABLE + 30 + BARS];
  const rows = rowsOf(step);
  const tall = (BARS * rows) / tallest;
  const mark = foot - (BARS * woken(rows, state)) / state.nExperts;
  const group = draw("g", { class: `step${i === plan.step ? " here" : ""}` },
    // Two frames, so that none crosses the words in between.
    draw("rect", { class: "ground", x, y: TOP - 4, width, height: TABLE + 6 }),
    draw("rect", { class: "ground", x, y: TOP + TABLE + 26, width, height: BARS + 8 }),
    ...step.reads.map((read) => cell(read, x, width, height)),
    draw("rect", { class: "rows", x, y: foot - tall, width: Math.max(width - 1, 1), height: tall }),
    draw("line", { class: "experts", x1: x, x2: x + width, y1: mark, y2: mark }));
  group.addEventListener("click", () => onPick(i));
  return group;
}

function buildPicture(change) {
  const svg = draw("svg", { class: "batch", role: "img", viewBox: `0 0 ${WIDTH} ${TOP + TABLE + BARS + 52}` });
  const hatch = draw("defs", {}, draw("pattern", {
    id: "moe-batch-hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  }, draw("line", { x1: 0, y1: 0, x2: 0, y2: 6, class: "hatch" })));
  const pick = (id) => change({ step: id });
  return {
    node: scrollBox(svg),
    update(state, plan) {
      const sizes = {
        width: Math.min(34, (WIDTH - LEFT - 6) / plan.all.length), height: TABLE / state.nSlots,
        tallest: Math.max(plan.bill.tallest, 1),
      };
      const foot = TOP + TABLE + 30 + BARS;
      svg.replaceChildren(hatch,
        draw("text", { class: "head", x: LEFT, y: 14 }, "slots, step by step"),
        ...range(state.nSlots).map((slot) =>
          draw("text", { class: "name", x: LEFT - 8, y: TOP + (slot + 0.5) * sizes.height + 4 }, `slot ${slot}`)),
        draw("text", { class: "head", x: LEFT, y: TOP + TABLE + 20 },
          `bars: rows of a step, up to ${plan.bill.tallest} · lines: experts awake, up to ${state.nExperts}`),
        ...range(plan.all.length).map((i) => column(i, state, plan, sizes, pick)),
        draw("line", { class: "axis", x1: LEFT, x2: WIDTH - 6, y1: foot, y2: foot }));
      svg.setAttribute("aria-label", `${plan.all.length} steps in ${state.nSlots} slots; rows of each step: `
        + `${plan.all.map(rowsOf).join(", ")}.`);
    },
  };
}

function buildNumbers() {
  const list = namedNumbers(["steps", "rows read", "tallest step", "experts woken a step", "experts fetched a new token"]);
  return {
    node: list.node,
    update(state, { bill }) {
      list.update([String(bill.steps), String(bill.rows), `${bill.tallest} rows`,
        `${bill.fetched.toFixed(1)} of ${state.nExperts}`, bill.each.toFixed(1)]);
    },
  };
}

const TRAITS = {
  prompts: "prompts", answers: "answers", nExperts: "n_experts", topK: "top_k", gap: "gap",
  nSlots: "n_slots", budget: "budget", plan: "plan", step: "step",
};

/** The traits as one plain object. */
const read = (model) => ({
  prompts: model.get("prompts"),
  answers: model.get("answers"),
  nExperts: model.get("n_experts"),
  topK: model.get("top_k"),
  gap: model.get("gap"),
  nSlots: model.get("n_slots"),
  budget: model.get("budget"),
  plan: model.get("plan"),
  step: model.get("step"),
});

function render({ model, el }) {
  const change = (updates) => {
    // Another plan, fewer steps: the chosen one must still be there.
    const { step } = planOf({ ...read(model), ...updates });
    save(model, { ...updates, step }, TRAITS);
  };
  const status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  const parts = [buildControls(change), buildPicture(change), buildNumbers()];
  const [controls, picture, numbers] = parts.map(({ node }) => node);
  const key = make("p", { class: "key" },
    "a cell: the request that is read, and of prompts (hatched) how many tokens · framed: the step you look at · "
    + "experts by the formula, as if all tokens chose evenly");
  const root = make("div", { class: "moe-widget moe-batch-explorer", role: "group", "aria-label": "Batch explorer" },
    controls, status, picture, key, numbers);
  const update = () => {
    const state = read(model);
    const plan = planOf(state);
    parts.forEach((part) => part.update(state, plan));
    status.textContent = sentence(state, plan);
  };
  return mount({ model, el }, root, Object.values(TRAITS), update);
}

export default { render };
