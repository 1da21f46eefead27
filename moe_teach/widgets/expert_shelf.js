// Browser half of `expert_shelf.py`: modules that go into the slots of a model, and the stored loss of
// every combination that was measured. Every name read with model.get is a trait there.

import { HUES, arrowKeys, copied, draw, make, mount, save, scrollBox } from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

const range = (n) => Array.from({ length: n }, (_, i) => i);
const mean = (values) => values.reduce((total, value) => total + value, 0) / values.length;
const alike = (a, b) => a.length === b.length && a.every((name, i) => name === b[i]);

/** Unpack the bytes: for every combination its losses [seed][domain], and those after a roll-back or null. */
export function unpack({ combinations, losses, nSeeds, domains }) {
  const numbers = new Float64Array(copied(losses));
  let at = 0;
  const table = () => range(nSeeds).map(() => [...numbers.subarray(at, at += domains.length)]);
  return combinations.map((contents) => {
    const [loss, back] = [table(), table()];
    return { contents, loss, back: Number.isNaN(back[0][0]) ? null : back };
  });
}

/** What was measured of these contents, or null. */
export const measuredOf = (measured, contents) => measured.find((entry) => alike(entry.contents, contents)) ?? null;

/** Why a module may not go into a slot: "" where it may, as into the slot it came with. */
export const refusalOf = ({ modules, start }, name, slot) =>
  (!name || name === start[slot] ? "" : modules.find((each) => each.name === name).refusals[slot]);

/** What a module does to the state when it is put into a slot. */
export function install(state, name, slot) {
  if (!state.force && refusalOf(state, name, slot)) return { tried: [name, state.slots[slot]], held: "" };
  return { contents: state.contents.map((own, i) => (i === slot ? name : own)), rolled: [], tried: [], held: "" };
}

/** What comes out again leaves the slot as it was. */
export const takeOut = (state, slot) => install({ ...state, force: true }, state.start[slot], slot);

/** Everything out, and remember what it was. */
export const rollBack = ({ contents, start }) => ({ rolled: contents, contents: start, tried: [], held: "" });

/** The contents without what the model refuses. */
export const cleaned = (state) =>
  state.contents.map((name, slot) => (refusalOf(state, name, slot) ? state.start[slot] : name));

/** By domain: mean loss before and after, the range of the seeds, and how many agree with the sign. */
export function rowsOf(before, after, domains) {
  return domains.map((domain, d) => {
    const [old, now] = [before, after].map((table) => table && table.map((seed) => seed[d]));
    const ends = (values) => values && { mean: mean(values), low: Math.min(...values), high: Math.max(...values) };
    if (!now) return { domain, before: ends(old), after: null, change: null, agree: null };
    const rises = now.map((value, s) => value - old[s]);
    const change = mean(rises);
    return {
      domain, before: ends(old), after: ends(now), change,
      agree: rises.filter((rise) => Math.sign(rise) === Math.sign(change)).length,
    };
  });
}

/** By how much a roll-back misses where it began, at most; null where nobody looked. */
export const missed = (entry, begin) => (entry && entry.back
  ? Math.max(...entry.back.flatMap((seed, s) => seed.map((value, d) => Math.abs(value - begin.loss[s][d])))) : null);

/** A scale for all losses that may be shown, with round ticks. */
export function scaleOf(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const rough = Math.max(high - low, 0.1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const [first, last] = [Math.floor(low / step - 1e-9), Math.ceil(high / step + 1e-9)];
  return { low: first * step, high: last * step, step, ticks: range(last - first + 1).map((i) => (first + i) * step) };
}

// ---- words ------------------------------------------------------------------------------------

export const signed = (value, noise) => {
  if (Math.abs(value) <= noise) return "±0";
  const text = Math.abs(value).toFixed(Math.abs(value) < 0.0995 ? 3 : 2);
  return `${value < 0 ? "−" : "+"}${text}`;
};
const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

/** What the slots hold that they did not hold at the start. */
export const installed = ({ contents, start, slots }) =>
  slots.map((slot, i) => [contents[i], slot, start[i]]).filter(([now, , own]) => now !== own);

/** What the change of a loss means, domain by domain. */
export function effectWords(rows, noise) {
  const moved = rows.filter(({ change }) => Math.abs(change) > noise);
  const part = (wanted, verb) => {
    const own = moved.filter(({ change }) => Math.sign(change) === wanted);
    return own.length ? [`${listed(own.map(({ domain, change }) => `${domain} (${signed(change, noise)})`))} ${verb(own.length)}`] : [];
  };
  const said = [...part(-1, (n) => (n > 1 ? "gain" : "gains")), ...part(1, (n) => (n > 1 ? "lose" : "loses"))];
  const still = rows.length - moved.length;
  if (!moved.length) return `No domain moves by more than ${noise} nats.`;
  return `${said.join("; ")}${still ? `; ${still === 1 ? "one domain does" : `${still} domains do`} not move by more than ${noise}` : ""}.`;
}

/** The state in words, for the line above the picture and for screen readers. */
export function sentence(state, measured) {
  const { tried, held, modules, rolled, noise, domains, slots } = state;
  if (tried.length) {
    const said = modules.find(({ name }) => name === tried[0]).refusals[slots.indexOf(tried[1])];
    return `Refused: ${said}`;
  }
  if (held) return `You hold ${held}. Choose a slot for it, or press Escape to put it back.`;
  const begin = measuredOf(measured, state.start);
  if (rolled.length) {
    const rest = missed(measuredOf(measured, rolled), begin);
    if (rest === null) return "Rolled back. The loss afterwards was not measured.";
    return rest === 0 ? "Rolled back: every loss is again what it was, to the last digit."
      : `Rolled back: no loss is further than ${rest.toPrecision(1)} nats from what it was.`;
  }
  const now = installed(state);
  if (!now.length) return "The model as it was. Take a module from the shelf.";
  const what = listed(now.map(([name, slot]) => `${name || "nothing"} in ${slot}`));
  const found = measuredOf(measured, state.contents);
  if (!found) {
    return `With ${what}: not measured. Nobody knows this loss, and the sum of the changes of its parts would be a guess.`;
  }
  return `With ${what}: ${effectWords(rowsOf(begin.loss, found.loss, domains), noise)}`;
}

/** What a slot says to the module in the reader's hand. */
export function offer(state, measured, slot) {
  if (!state.held) return "";
  if (!state.force && refusalOf(state, state.held, slot)) return "does not fit";
  const { contents } = install({ ...state, force: true }, state.held, slot);
  return measuredOf(measured, contents) ? "put it here: measured" : "put it here: not measured";
}

// ---- drawing ----------------------------------------------------------------------------------

/** A trunk is told by the form of its plug: its own model's is round. */
const PLUGS = ["M1 11a7 7 0 1 0 14 0a7 7 0 1 0 -14 0z", "M2 4h13v13h-13z", "M1 18L8 3l7 15z", "M8 2l7 9-7 9-7-9z"];
export const trunksOf = ({ trunk, modules }) => [...new Set([trunk, ...modules.map((module) => module.trunk)])];
const plug = (i, kind) => draw("svg", { class: `plug ${kind}`, viewBox: "0 0 16 22", "aria-hidden": "true" },
  draw("path", { d: PLUGS[i % PLUGS.length] }));

const hueOf = (domains, domain) => (domains.includes(domain) ? `var(--expert-${domains.indexOf(domain) % HUES})` : "var(--moe-soft)");

/** A module as a card: its name, what it was trained for, the plug of its trunk. */
function card({ name, domain, trunk, note }, state) {
  const own = state.domains.includes(domain) || domain;
  const facts = [own ? `for ${domain}` : "", `trunk ${trunk}`, note].filter(Boolean).join(" · ");
  return [plug(trunksOf(state).indexOf(trunk), "solid"), make("span", { class: "about" },
    make("strong", {}, name), make("small", {}, facts))];
}

/** The modules beside the model; each can be picked up, by a press or by dragging. */
function buildShelf(fixed, change, drop) {
  const cards = fixed.modules.map((module, i) => {
    const node = make("button", { type: "button", class: "module", style: `--hue: ${hueOf(fixed.domains, module.domain)}` },
      ...card(module, fixed));
    let dragged = false;
    node.addEventListener("click", () => {
      if (!dragged) change((state) => ({ held: state.held === module.name ? "" : module.name, tried: [] }));
      dragged = false;
    });
    node.addEventListener("keydown", (event) => arrowKeys(event, i, cards.length - 1, (to) => cards[to].focus()));
    node.addEventListener("pointerdown", (down) => {
      if (down.button !== 0 || down.pointerType === "touch") return; // fingers scroll, and tap
      const move = ({ clientX, clientY }) => {
        const [x, y] = [clientX - down.clientX, clientY - down.clientY];
        if (!dragged && Math.hypot(x, y) < 5) return;
        if (!dragged) change({ held: module.name, tried: [] });
        dragged = true;
        node.classList.add("dragged");
        node.style.translate = `${x}px ${y}px`;
      };
      const end = (up) => {
        node.removeEventListener("pointermove", move);
        ["pointerup", "pointercancel"].forEach((name) => node.removeEventListener(name, end));
        node.classList.remove("dragged");
        node.style.translate = "";
        if (dragged) drop(module.name, up);
        setTimeout(() => { dragged = false; }); // the click that ends a drag picks nothing up
      };
      node.setPointerCapture(down.pointerId);
      node.addEventListener("pointermove", move);
      ["pointerup", "pointercancel"].forEach((name) => node.addEventListener(name, end));
    });
    return node;
  });
  return {
    node: make("section", { class: "shelf", "aria-label": "shelf" }, make("p", { class: "title" }, "the shelf"), ...cards),
    update(state) {
      const focus = Math.max(0, fixed.modules.findIndex(({ name }) => name === state.held));
      cards.forEach((node, i) => {
        node.setAttribute("aria-pressed", fixed.modules[i].name === state.held);
        node.tabIndex = i === focus ? 0 : -1;
      });
    },
  };
}

/** The model: its trunk, and on it the slots. */
function buildSlots(fixed, change) {
  const parts = fixed.slots.map((slot, i) => {
    const [content, hint] = [make("span", { class: "content" }), make("span", { class: "hint" })];
    const out = make("button", { type: "button", class: "out", "aria-label": `take out of ${slot}` }, "take out");
    const node = make("button", { type: "button", class: "slot", "data-slot": i },
      make("span", { class: "title" }, slot), content, hint);
    node.addEventListener("click", () => change((state) => (state.held ? install(state, state.held, i) : { held: state.contents[i], tried: [] })));
    node.addEventListener("keydown", (event) => {
      if (event.key === "Delete" || event.key === "Backspace") change((state) => takeOut(state, i));
      else arrowKeys(event, i, parts.length - 1, (to) => parts[to].node.focus());
    });
    out.addEventListener("click", () => {
      change((state) => takeOut(state, i));
      node.focus();
    });
    return { node, content, hint, out };
  });
  const update = (state, measured) => parts.forEach(({ node, content, hint, out }, i) => {
    const name = state.contents[i];
    const module = state.modules.find((each) => each.name === name);
    content.replaceChildren(...(module ? card(module, state) : [plug(0, "open"), make("span", { class: "about" }, make("small", {}, "empty"))]));
    node.style.setProperty("--hue", module ? hueOf(state.domains, module.domain) : "var(--moe-line)");
    const asked = offer(state, measured, i);
    hint.textContent = asked || (name === state.start[i] ? "as it was" : "installed");
    node.classList.toggle("changed", name !== state.start[i]);
    node.classList.toggle("offered", asked.startsWith("put"));
    node.classList.toggle("refusing", asked === "does not fit");
    out.hidden = name === state.start[i] || Boolean(state.held); // the hint needs its place
  });
  return {
    node: make("section", { class: "model", "aria-label": "slots of the model" },
      make("p", { class: "title" }, "the model"),
      make("div", { class: "slots" }, ...parts.map(({ node, out }) => make("div", { class: "place" }, node, out))),
      make("p", { class: "trunk" }, plug(0, "solid"), `trunk ${fixed.trunk}`)),
    update,
  };
}

const MARKS = {
  before: (x) => `M${x - 6} 13a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z`,
  after: (x) => `M${x} 6l7 7-7 7-7-7z`,
  back: (x) => `M${x - 5} 8l10 10M${x - 5} 18l10 -10`,
};
const TRACK = 400;

/** Every domain's loss before, with what is in, and after the roll-back: marks on one scale, and numbers. */
function buildLosses(fixed, measured) {
  const begin = measuredOf(measured, fixed.start);
  const fits = ({ contents }) => contents.every((name, slot) => !refusalOf(fixed, name, slot));
  const lossesOf = (entries) => entries.flatMap(({ loss }) => loss.flat());
  const scales = { kept: scaleOf(lossesOf(measured.filter(fits))), all: scaleOf(lossesOf(measured)) };
  const heads = ["", "", "before", "now", "change", "rolled back"].map((text) => make("span", { class: "head", role: "columnheader" }, text));
  const rows = fixed.domains.map((domain) => {
    const svg = draw("svg", { class: "track", viewBox: `-9 0 ${TRACK + 18} 26`, "aria-hidden": "true" });
    const cells = range(4).map(() => make("span", { class: "number", role: "cell" }));
    const picture = make("span", { class: "picture", role: "cell" }, svg);
    return { svg, cells, node: make("div", { class: "row", role: "row" },
      make("span", { class: "domain", role: "rowheader" }, domain), picture, ...cells) };
  });
  const axis = draw("svg", { class: "axis", viewBox: `-9 0 ${TRACK + 18} 18`, "aria-hidden": "true" });
  const node = make("div", { class: "losses", role: "table", "aria-label": "loss of every domain in nats" },
    make("div", { class: "row heads", role: "row" }, ...heads), ...rows.map((row) => row.node),
    make("div", { class: "row", "aria-hidden": "true" }, make("span", { class: "unit" }, "loss, nats"),
      make("span", { class: "picture" }, axis)));
  const update = (state) => {
    const past = state.rolled.length > 0;
    const shown = past ? state.rolled : state.contents;
    const found = alike(shown, state.start) ? null : measuredOf(measured, shown);
    const scale = found && !fits(found) ? scales.all : scales.kept;
    const across = (loss) => (TRACK * (loss - scale.low)) / (scale.high - scale.low);
    const said = rowsOf(begin.loss, found && found.loss, state.domains);
    const back = past && found ? rowsOf(begin.loss, found.back, state.domains) : null;
    const unknown = !alike(shown, state.start) && !found;
    heads[3].textContent = past ? "was" : "now";
    rows.forEach(({ svg, cells, node: row }, d) => {
      const { before, after, change, agree } = said[d];
      const kind = change === null || Math.abs(change) <= state.noise ? "same" : change < 0 ? "better" : "worse";
      row.className = `row ${kind}${past ? " past" : ""}`;
      const seeds = (ends, name) => (ends.high > ends.low ? [draw("path", { class: `seeds ${name}`, d: `M${across(ends.low)} 13H${across(ends.high)}` })] : []);
      const spot = (ends, name) => draw("path", { class: name, d: MARKS[name](across(ends.mean)) });
      svg.replaceChildren(draw("path", { class: "line", d: `M0 13H${TRACK}` }),
        ...scale.ticks.map((tick) => draw("path", { class: "line", d: `M${across(tick)} 9v8` })),
        ...(after ? [draw("path", { class: "way", d: `M${across(before.mean)} 13H${across(after.mean)}` }), ...seeds(after, "then")] : seeds(before, "first")),
        spot(before, "before"), ...(after ? [spot(after, "after")] : []),
        ...(back && back[d].after ? [spot(back[d].after, "back")] : []));
      const several = after && state.nSeeds > 1 && kind !== "same";
      const texts = [before.mean.toFixed(2), after ? after.mean.toFixed(2) : unknown ? "not measured" : "–",
        after ? signed(change, state.noise) : "–",
        !past ? "–" : back && back[d].after ? back[d].after.mean.toFixed(2) : "not measured"];
      cells.forEach((cell, i) => {
        cell.replaceChildren(texts[i], ...(i === 2 && several ? [make("small", {}, `${agree} of ${state.nSeeds}`)] : []));
        cell.classList.toggle("unknown", texts[i] === "not measured");
      });
    });
    axis.replaceChildren(...scale.ticks.map((tick) =>
      draw("text", { x: across(tick), y: 13 }, tick.toFixed(Math.max(0, -Math.floor(Math.log10(scale.step) + 1e-9))))));
  };
  return { node: scrollBox(node), update };
}

/** A mark beside its word. */
const mark = (kind) => draw("svg", { class: "mark", viewBox: "-8 4 16 18", "aria-hidden": "true" },
  draw("path", { class: kind, d: MARKS[kind](0) }));

/** The traits as one plain object. */
const read = (model) => ({
  slots: model.get("slots"), modules: model.get("modules"), start: model.get("start"), domains: model.get("domains"),
  combinations: model.get("combinations"), losses: model.get("losses"), nSeeds: model.get("n_seeds"),
  trunk: model.get("trunk"), noise: model.get("noise"), note: model.get("note"), contents: model.get("contents"),
  held: model.get("held"), rolled: model.get("rolled"), tried: model.get("tried"), force: model.get("force"),
});
const STATE = ["contents", "held", "rolled", "tried", "force"];

/** Roll back, and the switch that overrules a refusal where somebody measured what happens then. */
function buildControls(fixed, measured, change) {
  const back = make("button", { type: "button", class: "back" }, "↶ roll back");
  back.addEventListener("click", () => change(rollBack));
  const force = make("input", { type: "checkbox" });
  force.addEventListener("change", () => change((state) => (force.checked ? { force: true, tried: [] }
    : { contents: cleaned(state), rolled: [], tried: [], force: false })));
  const label = make("label", { class: "force" }, force, " install what is refused all the same");
  label.hidden = measured.every(({ contents }) => contents.every((name, slot) => !refusalOf(fixed, name, slot)));
  return {
    node: make("div", { class: "tools" }, back, label),
    update(state) {
      back.disabled = alike(state.contents, state.start);
      force.checked = state.force;
    },
  };
}

function render({ model, el }) {
  const fixed = read(model);
  const measured = unpack(fixed);
  const change = (given) => save(model, typeof given === "function" ? given(read(model)) : given);
  const drop = (name, { clientX, clientY }) => {
    const under = document.elementsFromPoint(clientX, clientY).map((each) => each.closest?.(".slot")).find((each) => each && root.contains(each));
    change((state) => (under ? install(state, name, Number(under.dataset.slot)) : { held: "" }));
  };
  const parts = [buildSlots(fixed, change), buildShelf(fixed, change, drop), buildControls(fixed, measured, change), buildLosses(fixed, measured)];
  const [slots, shelf, tools, losses] = parts.map(({ node }) => node);
  const status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  const origin = make("p", { class: "origin" }, fixed.note);
  origin.hidden = !fixed.note;
  const several = fixed.nSeeds > 1 ? ` · wide line: from the lowest to the highest of ${fixed.nSeeds} seeds · “${fixed.nSeeds} of ${fixed.nSeeds}”: so many seeds changed that way` : "";
  const key = make("p", { class: "key" }, mark("before"), "before", mark("after"), "with what is in the slots",
    mark("back"), `rolled back · ±0: no more than ${fixed.noise} nats${several}`);
  const root = make("div", { class: "moe-widget moe-expert-shelf", role: "group", "aria-label": "Expert shelf" },
    origin, make("div", { class: "bench" }, slots, shelf), tools, status, losses, key);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") change({ held: "", tried: [] });
  });
  const update = () => {
    const state = read(model);
    parts.forEach((part) => part.update(state, measured));
    const words = sentence(state, measured);
    if (status.textContent !== words) status.textContent = words;
    status.classList.toggle("refused", state.tried.length > 0);
  };
  return mount({ model, el }, root, STATE, update);
}

export default { render };
