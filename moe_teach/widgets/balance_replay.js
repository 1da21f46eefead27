// Browser half of `balance_replay.py`: what the recorded loads and routes say at one step, and
// their picture. Every name read with model.get is a trait there.

import { HUES, arrowKeys, copied, look, make, mount, namedNumbers, oneOf, save, slider, visible } from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

export const DEAD = 0.1; // of the fair share, as in balance_replay.py

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** Entropy of a load over log E, as moe_teach.ops.balance.load_entropy: 1 is even, 0 collapse. */
export function loadEntropy(load) {
  if (load.length === 1) return 1;
  return sum(load.map((share) => (share > 0 ? share * Math.log(1 / share) : 0))) / Math.log(load.length);
}

/** By how much the busiest expert exceeds the mean, as moe_teach.ops.balance.max_violation. */
export const maxViolation = (load) => Math.max(...load) * load.length - 1;

/** The experts with less than a tenth of the fair share. */
export const deadExperts = (load) =>
  load.map((_, e) => e).filter((e) => load[e] < DEAD / load.length);

/** Which row shows `step`: the last one recorded until then, or else the first. */
export function rowAt(steps, step) {
  return Math.max(0, steps.filter((recorded) => recorded <= step).length - 1);
}

/** Cut `count` rows of `width` numbers from `numbers`, beginning at `start`. */
const rows = (numbers, start, count, width) =>
  Array.from({ length: count }, (_, i) => [...numbers.slice(start + i * width, start + (i + 1) * width)]);

/** Unpack the bytes: for every method its rows of loads, of skills or null, and of choices. */
export function unpack({ methods, loads, skills, choices, text }) {
  const [load, skill] = [loads, skills].map((view) => new Float32Array(copied(view)));
  const chosen = new Uint8Array(copied(choices));
  let [atLoad, atSkill, atChoice] = [0, 0, 0];
  return methods.map(({ name, steps, n_experts: width, top_k: topK, validation_loss: losses, has_skill: hasSkill }) => {
    const count = steps.length;
    const own = {
      name, steps, losses, topK,
      loads: rows(load, atLoad, count, width),
      skills: hasSkill ? rows(skill, atSkill, count, width) : null,
      choices: rows(chosen, atChoice, count, text.length * topK)
        .map((row) => rows(row, 0, text.length, topK)),
    };
    atLoad += count * width;
    atSkill += hasSkill ? count * width : 0;
    atChoice += count * text.length * topK;
    return own;
  });
}

/** Every step that any method recorded, ascending. */
export const allSteps = (methods) =>
  [...new Set(methods.flatMap(({ steps }) => steps))].sort((a, b) => a - b);

/** The same experts, in whatever order. */
const sameRoute = (a, b) => a.every((expert) => b.includes(expert));

/** For one row, whether each token has other experts than in the row before. */
export function flipped(choices, row) {
  return choices[row].map((route, token) => row > 0 && !sameRoute(route, choices[row - 1][token]));
}

/** The stretches of a token's life with one and the same route: first row, length, experts. */
export function stretches(choices, token) {
  const found = [];
  choices.forEach((row, i) => {
    const last = found.at(-1);
    if (last && sameRoute(last.route, row[token])) last.length += 1;
    else found.push({ from: i, length: 1, route: row[token] });
  });
  return found;
}

/** Everything one panel shows at `step`. */
export function panelAt(method, step) {
  const row = rowAt(method.steps, step);
  const load = method.loads[row];
  const skill = method.skills && method.skills[row];
  const known = (skill ?? []).filter((loss) => !Number.isNaN(loss));
  const changed = flipped(method.choices, row);
  return {
    row,
    recorded: method.steps[row],
    before: row > 0 ? method.steps[row - 1] : null,
    load,
    fair: 1 / load.length,
    entropy: loadEntropy(load),
    violation: maxViolation(load),
    dead: deadExperts(load),
    loss: method.losses && method.losses[row],
    skill,
    skillRange: known.length ? [Math.min(...known), Math.max(...known)] : null,
    routes: method.choices[row],
    changed,
    moved: changed.filter(Boolean).length,
  };
}

/** The scales that all panels share at all steps, so that bars can be compared: [0, most load]. */
export function scales(methods) {
  const losses = methods.flatMap(({ skills }) => (skills ?? []).flat()).filter((loss) => !Number.isNaN(loss));
  const load = Math.max(...methods.flatMap(({ loads }) => loads.flat()));
  return { load, skill: losses.length ? Math.max(...losses) : 1 };
}

// ---- words ------------------------------------------------------------------------------------

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const listed = (numbers) => numbers.join(", ");

/** Name every mark that the panels use, and no other. */
export function keyWords(methods) {
  const experts = Math.max(...methods.map(({ loads }) => loads[0].length));
  const borders = ["dashed", "double", "dotted"].slice(0, Math.ceil(experts / HUES) - 1);
  const again = borders.map((border, i) =>
    `${border} border: ${HUES * (i + 1)} to ${Math.min(HUES * (i + 2), experts) - 1}, in the same colours`);
  const skill = methods.some(({ skills }) => skills) ? ["◆: the loss of its tokens"] : [];
  return [
    "Colour and number: the expert", ...again, "┆: the fair share", ...skill,
    "†: dead, less than a tenth of the fair share", "dotted outline: the route changed at this record",
    "ring: the token that is followed", "tall bar: many routes changed",
  ].join(" · ");
}

/** What a panel says about its load, in words. */
export function loadWords({ load, dead, violation }) {
  const evenly = violation < 0.1 ? "Even: the busiest" : "The busiest";
  const gone = dead.length ? `${dead.length} of ${load.length} dead: ${listed(dead)}.` : "None is dead.";
  return `${evenly} expert carries ${(violation + 1).toFixed(2)} times its fair share. ${gone}`;
}

/** What a panel says about who knows what: a range that balance does not close. */
export function skillWords({ skillRange, violation }) {
  if (!skillRange) return "";
  const [best, worst] = skillRange.map((loss) => loss.toFixed(2));
  const even = violation < 0.25 ? "Almost equal load, and yet the" : "The";
  return `${even} experts' losses run from ${best} to ${worst}.`;
}

/** What a panel says about the probe text. */
export function routeWords({ moved, routes, before }) {
  if (before === null) return "The first record: nothing to compare the routes with.";
  return `${moved} of ${routes.length} tokens changed their route since step ${before}.`;
}

const routeOf = (route) => (route.length === 1 ? `expert ${route[0]}` : `experts ${route.join(" and ")}`);

/** The state in words, for the live region. */
export function sentence(methods, { step, method, token, text }) {
  const shown = methods.filter(({ name }) => !method || name === method);
  const said = shown.map((each) => {
    const panel = panelAt(each, step);
    const followed = token < 0 ? "" : `, token “${visible(text[token])}” at ${routeOf(panel.routes[token])}`;
    return `${each.name}: entropy ${panel.entropy.toFixed(2)}, MaxVio ${panel.violation.toFixed(2)}, `
      + `${panel.dead.length} dead, ${panel.moved} routes changed${followed}`;
  });
  return `Step ${step}. ${said.join("; ")}.`;
}

// ---- drawing ----------------------------------------------------------------------------------

function expertRows(method) {
  const parts = method.loads[0].map((_, e) => {
    const [bar, share] = [make("span", { class: "bar" }), make("span", { class: "share" })];
    const [dot, loss] = [make("span", { class: "dot" }), make("span", { class: "loss" })];
    const track = make("span", { class: "track" }, bar, make("span", { class: "fair" }));
    const row = make("div", { class: "expert", role: "listitem", ...look(e) },
      make("span", { class: "disc" }, String(e)), track, share);
    if (method.skills) row.append(make("span", { class: "track thin" }, dot), loss);
    return { row, bar, share, dot, loss, fair: track.lastChild };
  });
  const heads = ["", "load, fair share ┆", "", ...(method.skills ? ["loss of its tokens", ""] : [])];
  const node = make("div", { class: `experts${method.skills ? " skilled" : ""}`, role: "list", "aria-label": "experts" },
    make("div", { class: "expert head", "aria-hidden": "true" }, ...heads.map((head) => make("span", {}, head))),
    ...parts.map(({ row }) => row));
  const update = (panel, scale) => parts.forEach(({ row, bar, share, dot, loss, fair }, e) => {
    const dead = panel.dead.includes(e);
    bar.style.width = `${(100 * panel.load[e]) / scale.load}%`;
    fair.style.left = `${(100 * panel.fair) / scale.load}%`;
    share.textContent = dead ? `† ${percent(panel.load[e])}` : percent(panel.load[e]);
    row.classList.toggle("dead", dead);
    const own = panel.skill ? panel.skill[e] : NaN;
    dot.hidden = Number.isNaN(own);
    if (!dot.hidden) dot.style.left = `${(100 * own) / scale.skill}%`;
    loss.textContent = Number.isNaN(own) ? "none" : own.toFixed(2);
    row.setAttribute("aria-label", `expert ${e}: load ${percent(panel.load[e])}${dead ? ", dead" : ""}`
      + (panel.skill ? `, loss ${loss.textContent}` : ""));
  });
  return { node, update };
}

/** The probe text: each token in the colour of its first expert, with the numbers of all. */
function probeText(text, pick) {
  const tokens = text.map((token, place) => {
    const word = make("span", { class: "word" }, visible(token));
    const [said, ids] = [make("span", { class: "moe-spoken" }), make("span", { class: "ids", "aria-hidden": "true" })];
    const button = make("button", { type: "button", class: "token" }, word, said, ids);
    button.addEventListener("click", () => pick(button.getAttribute("aria-pressed") === "true" ? -1 : place, false));
    button.addEventListener("keydown", (event) => arrowKeys(event, place, text.length - 1, (to) => {
      pick(to);
      tokens[to].button.focus();
    }));
    return { button, said, ids };
  });
  const node = make("div", { class: "probe", role: "group", "aria-label": "probe text" }, ...tokens.map(({ button }) => button));
  const update = (panel, { token: selected }) => tokens.forEach(({ button, said, ids }, place) => {
    const route = panel.routes[place];
    Object.entries(look(route[0])).forEach(([name, value]) => button.setAttribute(name, value));
    ids.textContent = route.join("·");
    button.classList.toggle("flipped", panel.changed[place]);
    button.setAttribute("aria-pressed", place === selected);
    button.tabIndex = place === Math.max(0, selected) ? 0 : -1;
    said.textContent = `: ${routeOf(route)}${panel.changed[place] ? ", changed" : ""}`;
  });
  return { node, update };
}

/** Through the run: how many routes changed at each record, and the followed token's stretches. */
function history(method, text) {
  const count = method.steps.length;
  const flips = method.choices.map((_, row) => flipped(method.choices, row).filter(Boolean).length);
  const bars = flips.map((moved, row) => {
    const bar = make("span", { class: "flips", title: `step ${method.steps[row]}: ${moved} changed` }, make("span"));
    bar.firstChild.style.height = `${(100 * moved) / text.length}%`;
    return bar;
  });
  const first = [...flips].reverse().findIndex((moved) => moved > 0.05 * text.length);
  const calm = first < 0 ? 0 : count - first;
  const spoken = calm < count
    ? `From step ${method.steps[calm]} on, at most one token in twenty changes at a time.`
    : "The routes had not settled when the record ended.";
  const ribbon = make("div", { class: "ribbon", role: "img" });
  const life = make("p", { class: "note" });
  const node = make("div", { class: "history" },
    make("p", { class: "note" }, "share of the tokens that changed their route, record by record"),
    make("div", { class: "chart", role: "img", "aria-label": spoken }, ...bars),
    ribbon, life);
  let drawn = -1;
  const update = (panel, { token }) => {
    bars.forEach((bar, row) => bar.classList.toggle("now", row === panel.row));
    ribbon.hidden = token < 0;
    if (token < 0) {
      drawn = -1;
      life.textContent = `${spoken} Choose a token to follow it.`;
      return;
    }
    const pieces = stretches(method.choices, token);
    if (drawn !== token) ribbon.replaceChildren(...pieces.map(({ length, route }) => {
      const piece = make("span", look(route[0]), route.join("·"));
      piece.style.flex = `${length} 1 0`;
      return piece;
    }));
    drawn = token;
    pieces.forEach(({ from, length }, i) =>
      ribbon.children[i].classList.toggle("now", from <= panel.row && panel.row < from + length));
    const end = pieces.at(-1);
    const turns = pieces.length - 1;
    life.textContent = `“${visible(text[token])}” changed its route ${turns} time${turns === 1 ? "" : "s"}; `
      + `${routeOf(end.route)} since step ${method.steps[end.from]}.`;
    ribbon.setAttribute("aria-label", life.textContent);
  };
  return { node, update };
}

function buildPanel(method, text, pick) {
  const names = ["entropy", "MaxVio", "dead experts", ...(method.losses ? ["validation loss"] : [])];
  const list = namedNumbers(names);
  const when = make("span", { class: "when" });
  const [loadSaid, skillSaid, routeSaid] = [1, 2, 3].map(() => make("p", { class: "said" }));
  const parts = [expertRows(method), probeText(text, pick), history(method, text)];
  const [experts, probe, past] = parts.map(({ node }) => node);
  const node = make("section", { class: "panel", "aria-label": method.name },
    make("div", { class: "inner" },
      make("div", { class: "title" }, make("strong", {}, method.name), when),
      list.node,
      make("div", { class: "who" }, experts, loadSaid, skillSaid),
      make("div", { class: "where" }, probe, routeSaid, past)));
  const update = (state, scale) => {
    node.hidden = Boolean(state.method) && state.method !== method.name;
    if (node.hidden) return;
    const panel = panelAt(method, state.step);
    const texts = [panel.entropy.toFixed(2), panel.violation.toFixed(2), `${panel.dead.length} of ${panel.load.length}`];
    if (method.losses) texts.push(panel.loss.toFixed(3));
    list.update(texts);
    when.textContent = panel.recorded === state.step ? `step ${state.step}` : `recorded at step ${panel.recorded}`;
    loadSaid.textContent = loadWords(panel);
    skillSaid.textContent = skillWords(panel);
    routeSaid.textContent = routeWords(panel);
    parts[0].update(panel, scale);
    parts[1].update(panel, state);
    parts[2].update(panel, state);
  };
  return { node, update };
}

/** Play, step and method: `player` has step(index) and toggle(). */
function buildControls(player, names, focus) {
  const play = make("button", { type: "button", class: "play" });
  play.addEventListener("click", player.toggle);
  const place = slider("training step", { min: 0 }, player.jump);
  const method = oneOf("method", ["", ...names].map((name) => [name, name || "all"]), focus);
  method.node.hidden = names.length < 2;
  const update = (state, steps, playing) => {
    place.update(rowAt(steps, state.step), `${state.step} of ${steps.at(-1)}`, steps.length - 1);
    place.input.setAttribute("aria-valuetext", `step ${state.step}`); // heard at every key: kept short
    play.textContent = playing ? "❚❚ pause" : "▶ play";
    play.disabled = steps.length < 2;
    method.update(state.method);
  };
  return { node: make("div", { class: "controls" }, play, place.node, method.node), update, input: place.input };
}

/** Walk through the records by a clock; `read` and `go` are the present row and the way to another. */
function makePlayer({ count, read, go, changed }) {
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    changed();
  };
  const tick = () => {
    if (read() + 1 >= count()) stop();
    else go(read() + 1);
  };
  return {
    playing: () => timer !== null,
    stop,
    toggle() {
      if (timer !== null) return stop();
      if (read() + 1 >= count()) go(0);
      timer = setInterval(tick, 700);
      return changed();
    },
    jump(row) {
      if (timer !== null) stop();
      go(row);
    },
  };
}

const read = (model) => ({
  methods: model.get("methods"),
  loads: model.get("loads"),
  skills: model.get("skills"),
  choices: model.get("choices"),
  text: model.get("text"),
  note: model.get("note"),
  step: model.get("step"),
  method: model.get("method"),
  token: model.get("token"),
});

function render({ model, el }) {
  const { note, ...data } = read(model); // a replay is a record: what was recorded does not change
  const methods = unpack(data);
  const [steps, scale] = [allSteps(methods), scales(methods)];
  const change = (name, value) => save(model, { [name]: value });
  const player = makePlayer({
    count: () => steps.length,
    read: () => rowAt(steps, model.get("step")),
    go: (row) => change("step", steps[Math.max(0, Math.min(steps.length - 1, row))]),
    changed: () => update(),
  });
  const controls = buildControls(player, methods.map(({ name }) => name), (name) => change("method", name));
  const panels = methods.map((method) => buildPanel(method, data.text, (token) => change("token", token)));
  const status = make("p", { class: "moe-spoken", role: "status" });
  const grid = make("div", { class: `panels of-${panels.length}` }, ...panels.map(({ node }) => node));
  const origin = make("p", { class: "origin" }, note);
  origin.hidden = !note;
  const key = make("p", { class: "note" }, keyWords(methods));
  const root = make("div", { class: "moe-widget moe-balance-replay", role: "group", "aria-label": "Balance replay" },
    make("div", { class: "body" }, origin, controls.node, grid, key, status));
  controls.input.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    player.toggle();
  });
  function update() {
    const state = read(model);
    controls.update(state, steps, player.playing());
    panels.forEach((panel) => panel.update(state, scale));
    grid.classList.toggle("focused", Boolean(state.method));
    // While it plays, a reader of the screen would be talked over at every record.
    if (!player.playing()) status.textContent = `${sentence(methods, state)} ${note}`.trim();
  }
  const unmount = mount({ model, el }, root, ["step", "method", "token"], update);
  return () => {
    player.stop();
    unmount();
  };
}

export default { render };
