// Browser half of `cache_replay.py`: a recorded trace of chosen experts, replayed through a memory
// that does not hold them all. Every name read with model.get is a trait there.

import { copied, draw, make, menu, mount, namedNumbers, oneOf, save, scrollBox, slider } from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

export const POLICIES = ["LRU", "LFU", "pinned", "optimum"];
const NOBODY = 255; // where there is no layer to guess from

const range = (n) => Array.from({ length: n }, (_, i) => i);
const sum = (values) => values.reduce((a, b) => a + b, 0);

/** Unpack the bytes: for every trace its requests, by step and layer: needed and guessed keys. */
export function unpack({ traces, choices, guesses, nLayers, nExperts, topK, farthest }) {
  const [chosen, guessed] = [choices, guesses].map((view) => new Uint8Array(copied(view)));
  let [at, from] = [0, 0];
  return traces.map(({ name, n_tokens: nTokens }) => {
    const asks = range(nTokens * nLayers).map((i) => {
      const [step, layer] = [Math.floor(i / nLayers), i % nLayers];
      const keys = (experts) => [...experts].filter((e) => e !== NOBODY).map((e) => layer * nExperts + e);
      const needed = keys(chosen.slice(at, at + topK).sort());
      const ahead = range(farthest).map((d) => keys(guessed.slice(from + d * topK, from + (d + 1) * topK)));
      at += topK;
      from += farthest * topK;
      return { step, layer, needed, ahead };
    });
    return { name, nTokens, asks };
  });
}

/** The keys of a profile, the most used first; at a tie the smaller one. */
export const ranked = (counts) => range(counts.length).sort((a, b) => counts[b] - counts[a] || a - b);

/** The policies of `moe_teach.deploy.store.policies`: they hear of uses, and the least worth goes. */
export const policies = {
  LRU() {
    let clock = 0;
    const last = new Map();
    return { use: (key) => last.set(key, clock += 1), worth: (key) => [last.get(key) ?? 0] };
  },
  LFU() {
    const [recent, count] = [policies.LRU(), new Map()];
    return {
      use: (key) => { recent.use(key); count.set(key, (count.get(key) ?? 0) + 1); },
      worth: (key) => [count.get(key) ?? 0, ...recent.worth(key)],
    };
  },
  pinned(_, pinned) {
    const [recent, fixed] = [policies.LRU(), new Set(pinned)];
    return { use: recent.use, worth: (key) => [Number(fixed.has(key)), ...recent.worth(key)] };
  },
  optimum(asks) {
    const future = new Map();
    asks.forEach(({ step, needed }) => needed.forEach((key) => future.set(key, [...(future.get(key) ?? []), step])));
    const layerOf = new Map(asks.flatMap(({ layer, needed }) => needed.map((key) => [key, layer])));
    return {
      use: (key, step) => { while (future.get(key)[0] <= step) future.get(key).shift(); },
      worth: (key) => {
        const [next = Infinity, after = Infinity] = future.get(key) ?? [];
        return [-next, -(layerOf.get(key) ?? 0), after];
      },
    };
  },
};

/**
 * Send requests through a memory of `room` experts, as `ExpertCache` does. Gives for every request
 * who was there, who had been guessed in time, who had to be waited for, who was read on a guess
 * for nothing, who made room, and who is in memory afterwards.
 */
export function replay(asks, { policy: name, room, distance, pinned, nLayers }) {
  const policy = policies[name](asks, pinned);
  const held = new Set();
  const guesses = new Map();
  const less = (a, b) => {
    const [one, other] = [policy.worth(a), policy.worth(b)];
    const at = one.findIndex((value, i) => value !== other[i]);
    return at < 0 ? a - b : one[at] - other[at];
  };
  const awaited = () => [...guesses.values()].flatMap((own) => [...own.keys()]);
  const victimBut = (keep) => {
    const kept = new Set(keep);
    return [...held].filter((key) => !kept.has(key))
      .reduce((least, key) => (least === null || less(key, least) < 0 ? key : least), null);
  };
  const events = [];
  asks.forEach(({ step, layer, needed }, i) => {
    needed.forEach((key) => policy.use(key, step));
    const here = needed.filter((key) => held.has(key));
    const own = guesses.get(layer) ?? new Map();
    guesses.delete(layer);
    const misses = needed.filter((key) => !held.has(key)).sort(less);
    const out = [];
    const admit = (key, victim) => {
      if (victim !== null) {
        held.delete(victim);
        out.push(victim);
      }
      held.add(key);
    };
    misses.forEach((key) => admit(key, held.size < room ? null : victimBut(awaited()) ?? victimBut([])));
    const inTime = here.filter((key) => own.get(key));
    const wasted = [...own.keys()].filter((key) => own.get(key) && !here.includes(key));
    if (distance && layer + distance < nLayers) {
      const ahead = new Map();
      guesses.set(layer + distance, ahead);
      asks[i + distance].ahead[distance - 1].forEach((key) => {
        if (held.has(key)) ahead.set(key, ahead.get(key) ?? false);
        else {
          const victim = held.size < room ? null : victimBut([...needed, ...awaited()]);
          if (victim === null && held.size >= room) return;
          admit(key, victim);
          ahead.set(key, true);
        }
      });
    }
    events.push({ hits: here.filter((key) => !own.get(key)), inTime, misses, wasted, out, held: new Set(held) });
  });
  return events;
}

/** What a replay cost: shares of the requests, bytes moved, and the least time of a token. */
export function billOf(events, nTokens, { expertBytes, link, memory, topK, nLayers }) {
  const of = (kind) => sum(events.map((event) => event[kind].length));
  const [hits, inTime, misses, wasted] = ["hits", "inTime", "misses", "wasted"].map(of);
  const seconds = (experts, speed) => (experts * expertBytes) / nTokens / speed;
  const reading = (topK * nLayers * expertBytes) / memory;
  const [waiting, travelling] = [seconds(misses, link), seconds(inTime + wasted, link)];
  const moved = (inTime + misses + wasted) * expertBytes;
  return {
    requests: hits + inTime + misses, hits, inTime, misses, wasted, moved,
    rate: (hits + inTime) / (hits + inTime + misses),
    seconds: waiting + Math.max(reading, travelling),
  };
}

// ---- words ------------------------------------------------------------------------------------

export const percent = (share) => `${(100 * share).toFixed(0)} %`;

/** Bytes in a unit that leaves one to three digits before the point. */
export function spelt(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3 + 1e-9), units.length - 1);
  const value = bytes / 1000 ** power;
  return `${value.toFixed(value < 9.95 && power ? 1 : 0)} ${units[power]}`;
}

const listed = (keys, nExperts) => keys.map((key) => key % nExperts).join(" and ");

/** One step in words, for the line above the picture and for screen readers. */
export function sentence(event, { token, layer, nExperts }) {
  const said = [
    ["hits", "was there", "were there"],
    ["inTime", "was read ahead", "were read ahead"],
    ["misses", "had to be waited for", "had to be waited for"],
    ["wasted", "was read ahead for nothing", "were read ahead for nothing"],
  ].filter(([kind]) => event[kind].length).map(([kind, one, many]) =>
    `${listed(event[kind], nExperts)} ${event[kind].length === 1 ? one : many}`);
  const gone = event.out.length ? ` ${event.out.length} made room.` : " Nobody made room.";
  return `Token ${token}, layer ${layer}: expert ${said.join("; ")}.${gone}`;
}

// ---- drawing ----------------------------------------------------------------------------------

const [WIDTH, TOP, LEFT, SHOWN] = [900, 26, 74, 48];
const TALL = 300;

const LINKS = [0.5, 1, 2, 3, 5, 7, 12, 25, 50, 100]; // GB/s
const nearest = (value) => LINKS.reduce((best, link, i) =>
  (Math.abs(Math.log(link * 1e9 / value)) < Math.abs(Math.log(LINKS[best] * 1e9 / value)) ? i : best), 0);

function buildControls(change, fixed) {
  const trace = menu("trace", (name) => change({ trace: name }));
  const policy = oneOf("policy", POLICIES.map((name) => [name, name]), (name) => change({ policy: name }));
  const profile = menu("pinned: the hottest of", (name) => change({ profile: name }));
  const room = slider("memory for experts", { min: fixed.topK }, (count) => change({ room: count }));
  const distance = slider("read ahead, layers", { min: 0 }, (layers) => change({ distance: layers }));
  const link = slider("speed of what is behind it", { min: 0 }, (i) => change({ link: LINKS[i] * 1e9 }));
  const layer = slider("look at layer", { min: 0 }, (chosen) => change({ layer: chosen }));
  const token = slider("look at token", { min: 0 }, (chosen) => change({ token: chosen }));
  const who = make("div", { class: "field" }, make("span", {}, "policy"), policy.node);
  const parts = [trace, { node: who }, profile, room, distance, link, layer, token];
  return {
    node: make("div", { class: "controls" }, ...parts.map(({ node }) => node)),
    update(state, { traces, nTokens }) {
      const all = state.nLayers * state.nExperts;
      trace.update(traces.map(({ name }) => name), state.trace);
      policy.update(state.policy);
      profile.update(state.profiles.map(({ name }) => name), state.profile);
      profile.node.classList.toggle("idle", state.policy !== "pinned");
      room.update(state.room, `${spelt(state.room * state.expertBytes)}, ${state.room} of ${all} experts`, all);
            distance.update(state.distance, String(state.distance || "none"), state.farthest);
      link.update(nearest(state.link), `${spelt(state.link)}/s`, LINKS.length - 1);
      layer.update(state.layer, String(state.layer), state.nLayers - 1);
      token.update(state.token, String(state.token), nTokens - 1);
    },
  };
}

/** Marks of one kind, joined into one path: many marks, one element. */
const path = (kind, marks, shape) => draw("path", { class: kind, d: marks.map(shape).join("") });

const SHAPES = {
  hits: ([x, y, r]) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
  inTime: ([x, y, r]) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  misses: ([x, y, r]) => `M${x - r} ${y - r}l${2 * r} ${2 * r}M${x - r} ${y + r}l${2 * r} ${-2 * r}`,
  wasted: ([x, y, r]) => `M${x} ${y - r}l${r} ${2 * r}h${-2 * r}z`,
};

const KEY = [["hits", "there already"], ["inTime", "read ahead, in time"], ["misses", "waited for"],
  ["wasted", "read ahead for nothing"], ["resident", "in memory"]];

/** A mark beside its word. */
function mark(kind) {
  const shape = SHAPES[kind] ?? (() => "M0 6h12");
  return draw("svg", { class: "mark", viewBox: "0 0 12 12", "aria-hidden": "true" }, path(kind, [[6, 6, 5]], shape));
}

/** Which columns a window shows, with the token that is looked at in it. */
export function windowOf(token, nTokens) {
  const first = Math.max(0, Math.min(token - (token % SHOWN), nTokens - SHOWN));
  return { first, count: Math.min(SHOWN, nTokens - first) };
}

function buildPicture(change) {
  const svg = draw("svg", { class: "grid", role: "img", viewBox: `0 0 ${WIDTH} ${TOP + TALL + 34}` });
  let shown = null;
  svg.addEventListener("click", (event) => {
    if (!shown) return;
    const { left, width } = svg.getBoundingClientRect();
    const column = Math.floor(((event.clientX - left) * (WIDTH / width) - LEFT) / shown.wide);
    if (column >= 0 && column < shown.count) change({ token: shown.first + column });
  });
  return {
    node: scrollBox(svg),
    update(state, { events, nTokens }) {
      const { first, count } = windowOf(state.token, nTokens);
      const [wide, high] = [(WIDTH - LEFT - 6) / count, TALL / state.nExperts];
      shown = { first, count, wide };
      const at = (token) => events[token * state.nLayers + state.layer];
      const x = (column) => LEFT + (column + 0.5) * wide;
      const y = (expert) => TOP + (expert + 0.5) * high;
      const r = Math.min(wide, high) * 0.32;
      const own = (key) => Math.floor(key / state.nExperts) === state.layer;
      const columns = range(count);
      const marks = (kind) => columns.flatMap((column) => at(first + column)[kind].filter(own)
        .map((key) => [x(column), y(key % state.nExperts), r]));
      const resident = columns.flatMap((column) => [...at(first + column).held].filter(own)
        .map((key) => [x(column) - wide / 2, y(key % state.nExperts)]));
      svg.replaceChildren(
        draw("text", { class: "head", x: LEFT, y: 14 }, `layer ${state.layer}, tokens ${first} to ${first + count - 1}`),
        draw("rect", { class: "here", x: x(state.token - first) - wide / 2, y: TOP - 4, width: wide, height: TALL + 8 }),
        ...range(state.nExperts).map((expert) =>
          draw("text", { class: "who", x: LEFT - 8, y: y(expert) + 4 }, expert ? String(expert) : "expert 0")),
        path("resident", resident, ([left, middle]) => `M${left} ${middle}h${wide}`),
        ...Object.entries(SHAPES).map(([kind, shape]) => path(kind, marks(kind), shape)),
        ...columns.filter((column) => (first + column) % 8 === 0).map((column) =>
          draw("text", { class: "when", x: x(column), y: TOP + TALL + 22 }, String(first + column))));
      const { hits, inTime, misses } = state.bill;
      svg.setAttribute("aria-label",
        `Experts of layer ${state.layer} over ${count} tokens. All layers, whole trace: ${hits} there, ${inTime} read ahead, ${misses} waited for.`);
    },
  };
}

/** The same memory under every policy, so that one can be read against the others. */
function buildBars() {
  const rows = POLICIES.map((name) => {
    const [bar, share] = [make("span", { class: "bar" }), make("span", { class: "share" })];
    const row = make("div", { class: "row", role: "listitem" }, make("span", { class: "name" }, name),
      make("span", { class: "track" }, bar, make("span", { class: "fair" })), share);
    return { name, row, bar, share, fair: row.querySelector(".fair") };
  });
  return {
    node: make("div", { class: "bars", role: "list", "aria-label": "share of the requests found in memory, by policy" },
      ...rows.map(({ row }) => row)),
    update(state, { rates }) {
      rows.forEach(({ name, row, bar, share, fair }) => {
        bar.style.width = percent(rates[name]).replace(" ", "");
        fair.style.left = `${(100 * state.room) / (state.nLayers * state.nExperts)}%`;
        share.textContent = percent(rates[name]);
        row.classList.toggle("now", name === state.policy);
      });
    },
  };
}

const NAMES = ["there already", "read ahead, in time", "waited for", "moved for a token", "resident", "a token takes at least"];

function buildNumbers() {
  const list = namedNumbers(NAMES);
  return {
    node: list.node,
    update(state, { bill, nTokens }) {
      const of = (count) => percent(count / bill.requests);
      list.update([of(bill.hits), of(bill.inTime), of(bill.misses),
        spelt(bill.moved / nTokens), spelt(state.room * state.expertBytes), timed(bill.seconds)]);
    },
  };
}

/** Seconds in a unit that leaves one to three digits before the point. */
export function timed(seconds) {
  const [scale, unit] = seconds < 1e-3 ? [1e6, "µs"] : seconds < 1 ? [1e3, "ms"] : [1, "s"];
  const value = seconds * scale;
  return `${value.toFixed(value < 9.95 ? 1 : 0)} ${unit}`;
}

const STATE = {
  trace: "trace", policy: "policy", profile: "profile", room: "room", distance: "distance",
  link: "link", layer: "layer", token: "token",
};

/** The traits as one plain object. */
const read = (model) => ({
  traces: model.get("traces"),
  choices: model.get("choices"),
  guesses: model.get("guesses"),
  profiles: model.get("profiles"),
  nLayers: model.get("n_layers"),
  nExperts: model.get("n_experts"),
  topK: model.get("top_k"),
  farthest: model.get("farthest"),
  expertBytes: model.get("expert_bytes"),
  memory: model.get("memory"),
  note: model.get("note"),
  trace: model.get("trace"),
  policy: model.get("policy"),
  profile: model.get("profile"),
  room: model.get("room"),
  distance: model.get("distance"),
  link: model.get("link"),
  layer: model.get("layer"),
  token: model.get("token"),
});

/** Everything that the picture and the numbers need of a state. */
export function planOf(state, traces) {
  const { asks, nTokens } = traces.find(({ name }) => name === state.trace);
  const { counts } = state.profiles.find(({ name }) => name === state.profile);
  const pinned = ranked(counts).slice(0, state.room - state.topK); // what passes by needs a place
  const through = (policy, distance) => replay(asks, { ...state, policy, distance, pinned });
  const events = through(state.policy, state.distance);
  const bill = billOf(events, nTokens, state);
  const rates = Object.fromEntries(POLICIES.map((policy) =>
    [policy, billOf(through(policy, 0), nTokens, state).rate]));
  return { traces, nTokens, events, bill, rates };
}

function render({ model, el }) {
  const fixed = read(model);
  const traces = unpack(fixed);
  const change = (updates) => {
    const chosen = traces.find(({ name }) => name === (updates.trace ?? model.get("trace")));
    const token = Math.min(updates.token ?? model.get("token"), chosen.nTokens - 1);
    save(model, { ...updates, token }, STATE);
  };
  const status = make("p", { class: "status", role: "status", "aria-live": "polite" });
  const parts = [buildControls(change, fixed), buildPicture(change), buildNumbers(), buildBars()];
  const [controls, picture, numbers, bars] = parts.map(({ node }) => node);
  const key = make("p", { class: "key" }, ...KEY.flatMap(([kind, said]) => [mark(kind), said]));
  const caption = make("p", { class: "key" },
    "found in memory without any prefetch, by policy; dashed: the share of all experts that fits");
  const origin = make("p", { class: "origin" }, fixed.note);
  origin.hidden = !fixed.note;
  const root = make("div", { class: "moe-widget moe-cache-replay", role: "group", "aria-label": "Cache replay" },
    origin, controls, status, picture, key, numbers, caption, bars);
  const update = () => {
    const state = read(model);
    const plan = planOf(state, traces);
    state.bill = plan.bill;
    parts.forEach((part) => part.update(state, plan));
    status.textContent = sentence(plan.events[state.token * state.nLayers + state.layer], state);
  };
  return mount({ model, el }, root, Object.values(STATE), update);
}

export default { render };
