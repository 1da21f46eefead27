// Browser half of `route_explorer.py`: texts in the colours of their experts, and the stored numbers
// that say what those colours are worth. Every name read with model.get is a trait there.

import {
  HUES, arrowKeys, copied, draw, look, make, menu, mount, oneOf, save, scrollBox, slider, visible,
} from "./drawing.js";

// ---- the arithmetic ---------------------------------------------------------------------------

const CLOSE = 0.1; // the smallest tenth of a layer's margins is marked
const range = (n) => Array.from({ length: n }, (_, i) => i);
const sum = (values) => values.reduce((total, value) => total + value, 0);
const mean = (values) => sum(values) / values.length;

/** Give a function that cuts the next `n` numbers each time it is called. */
function cutter(array) {
  let at = 0;
  return (n) => [...array.subarray(at, at += n)];
}

/** The next numbers as a table: cut `sizes[0]` times whatever the other sizes ask for. */
const tableOf = (cut, [size, ...others]) =>
  (others.length ? range(size).map(() => tableOf(cut, others)) : cut(size));

/** Unpack the bytes: texts with their routes and losses, counts by view, and damage or null. */
export function unpack({ texts, ids, gates, margins, losses, counts, damage, shape, domains, layers, views }) {
  const [L, E, K, D] = [layers.length, shape.n_experts, shape.top_k, domains.length];
  const floats = (view) => cutter(new Float32Array(copied(view)));
  const [id, gate, margin, loss, count] = [cutter(new Uint8Array(copied(ids))), ...[gates, margins, losses, counts].map(floats)];
  const routed = (T) => ({
    ids: tableOf(id, [T, L, K]), gates: tableOf(gate, [T, L, K]), margins: tableOf(margin, [T, L]),
  });
  return {
    texts: texts.map(({ name, domain, tokens, has_loss: hasLoss, has_removed: hasRemoved }) => ({
      name, domain, tokens,
      trained: routed(tokens.length),
      untrained: views.includes("untrained") ? routed(tokens.length) : null,
      loss: hasLoss ? loss(tokens.length) : null,
      removed: hasRemoved ? tableOf(loss, [tokens.length, L, E]) : null,
    })),
    counts: Object.fromEntries(views.map((view) => [view, tableOf(count, [L, E, D])])),
    damage: damage.byteLength ? tableOf(floats(damage), [L, E, D]) : null,
  };
}

/** What the chosen expert tells about the domain, from the counts of one layer, in bits. */
export function bitsAbout(table) {
  const total = sum(table.flat());
  const domain = table[0].map((_, d) => sum(table.map((row) => row[d])));
  return sum(table.flatMap((row) => {
    const own = sum(row);
    return row.map((n, d) => (n > 0 ? (n / total) * Math.log2((n * total) / (own * domain[d])) : 0));
  }));
}

/** The share of every expert in all choices of one layer. */
export const loadOf = (table) => table.map((row) => sum(row) / sum(table.flat()));

/** The domains among the tokens of an expert as shares, or null where it has none. */
export const mixOf = (row) => (sum(row) > 0 ? row.map((n) => n / sum(row)) : null);

/** The place of a value among others, 1 for the largest; equals share the better place. */
export const placeOf = (values, i) => 1 + values.filter((value) => value > values[i]).length;

/** The share of choices that differ, in whatever order: 1 - |A and B| / K. */
export const parted = (a, b) => 1 - a.filter((e) => b.includes(e)).length / a.length;

/** Which tokens of a text have a partner in the text beside it: [own place, other place]. */
export function partners(pairs, first, second) {
  const found = pairs.find((pair) => pair.first === first && pair.second === second);
  if (found) return found.places;
  const turned = pairs.find((pair) => pair.first === second && pair.second === first);
  return turned ? turned.places.map(([i, j]) => [j, i]) : [];
}

/** The names of the texts that may stand beside one. */
export const beside = (pairs, text) => [...new Set(pairs.flatMap(({ first, second }) =>
  (first === text ? [second] : second === text ? [first] : [])))];

/** By token of the first text and layer, how far the paths part; null where nothing is compared. */
export function partings(first, second, places) {
  const other = new Map(places);
  return first.ids.map((layers, i) => (other.has(i)
    ? layers.map((own, l) => parted(own, second.ids[other.get(i)][l])) : null));
}

/** By layer, the mean over what is compared. */
export const divergence = (parts, nLayers) =>
  range(nLayers).map((l) => mean(parts.filter(Boolean).map((row) => row[l])));

/** The margins of all stored tokens at a layer, rising: what a single one is held against. */
export const marginsAt = (texts, router, layer) =>
  texts.flatMap((text) => text[router].margins.map((row) => row[layer])).sort((a, b) => a - b);

/** The share of the others that are smaller. */
export const surer = (margin, sorted) =>
  (margin === Infinity ? 1 : sorted.filter((other) => other < margin).length / sorted.length);

/** By how much the loss of a token rises without an expert; NaN where it was not stored. */
export const riseOf = ({ loss, removed }, token, layer, expert) =>
  (removed && expert >= 0 ? removed[token][layer][expert] - loss[token] : NaN);

// ---- words ------------------------------------------------------------------------------------

export const percent = (share) => `${(100 * share).toFixed(share < 0.0995 && share > 0 ? 1 : 0)} %`;
export const signed = (value) => {
  const text = Math.abs(value).toFixed(2);
  return Number(text) === 0 ? "0.00" : `${value < 0 ? "−" : "+"}${text}`;
};
const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
const VIEWS = { trained: "trained router", untrained: "untrained router", shuffled: "trained, domains shuffled" };

/** The focused token in words: gates, margin, and its loss with and without the expert. */
export function tokenWords({ token, layer, layers, expert, knocked }, text, router, sorted) {
  if (token < 0) return "Choose a token to read its gates.";
  const { ids, gates, margins } = text[router];
  const to = ids[token][layer].map((e, k) => `expert ${e} (gate ${gates[token][layer][k].toFixed(2)})`);
  const margin = margins[token][layer];
  const sure = margin === Infinity ? "Nobody is left out." : `Its margin over the first expert left out is `
    + `${margin.toFixed(2)}, larger than ${percent(surer(margin, sorted))} of the margins here.`;
  const said = `“${visible(text.tokens[token])}”, token ${token}, layer ${layers[layer]}: ${listed(to)}. ${sure}`;
  if (!knocked || router !== "trained" || expert < 0 || !text.loss) return said;
  const [loss, rise] = [text.loss[token], riseOf(text, token, layer, expert)];
  if (Number.isNaN(loss)) return `${said} Nothing comes before it, so nothing predicts it.`;
  if (Number.isNaN(rise)) return said;
  return `${said} Predicting it from the tokens before it costs ${loss.toFixed(2)} nats, and ${(loss + rise).toFixed(2)} without expert ${expert}.`;
}

/** The expert that stands out in words: its load, and the damage without it. */
export function expertWords({ expert, knocked, view, noise, domains }, table, damage) {
  if (expert < 0) return knocked ? "Choose an expert to knock it out." : "";
  const loads = loadOf(table);
  const said = `Expert ${expert} takes ${percent(loads[expert])} of the choices, place ${placeOf(loads, expert)} of ${loads.length}.`;
  if (!knocked) return said;
  if (view === "untrained") return `${said} It was knocked out of the trained model only.`;
  if (!damage) return `${said} What happens without it was not stored.`;
  const felt = domains.map((name, d) => [name, damage[expert][d]]).filter(([, rise]) => Math.abs(rise) > noise);
  const means = damage.map(mean);
  const where = felt.length
    ? `the loss by ${listed(felt.map(([name, rise]) => `${signed(rise)} in ${name}`))}`
    : `no loss by more than ${noise} nats`;
  return `${said} Taking it away changes ${where}: place ${placeOf(means, expert)} of ${means.length} by mean damage.`;
}

/** The numbers under a token: the first three of its experts, and a sign that there are more. */
export const shortly = (experts) => `${experts.slice(0, 3).join("·")}${experts.length > 3 ? "…" : ""}`;

/** What the two texts have to say, and what the controls say. */
export function pairWords({ second, layer, layers }, parts, references) {
  if (!second) return "";
  const share = divergence(parts, layers.length)[layer];
  const others = references.map(({ name, mean: means }) => `${percent(means[layer])} in ${name}`);
  const said = `From the first difference on, ${percent(share)} of the choices of shared tokens differ at layer ${layers[layer]}`;
  return `${said}${others.length ? `; it is ${listed(others)}` : ""}.`;
}

/** What a view shows, and what it takes away. */
export const viewWords = (view) => ({
  trained: "",
  untrained: "This router was never trained: its numbers are still those it was drawn with.",
  shuffled: "The domains are dealt anew to whole texts: the colours of a text stay as they are, and what is left in the table is chance.",
})[view];

/** Name the marks in use, and no other. */
export function keyWords({ knocked, second }, nExperts) {
  const borders = range(Math.ceil(nExperts / HUES) - 1).map((i) =>
    `${["dashed", "double", "dotted"][i % 3]} border: ${HUES * (i + 1)} to ${Math.min(HUES * (i + 2), nExperts) - 1}`);
  return [
    "Colour and numbers: the experts", ...borders, "stripe: their gates", "strong tint: a wide margin",
    "dots under the word: the narrowest tenth", ...(knocked ? ["signed number: without the expert, the change of the loss of predicting this token from those before it, in nats"] : []),
    ...(second ? ["≠: parted from the other text"] : []),
  ].join(" · ");
}

// ---- drawing ----------------------------------------------------------------------------------

/** A text as buttons; `second` marks where it parts from the other one. */
function textBlock(second, pick) {
  const [title, words] = [make("p", { class: "title" }), make("div", { class: "words", role: "group" })];
  let [shown, parts] = [null, []];
  const build = (text) => {
    parts = text.tokens.map((token, place) => {
      const [stripe, ids, said] = ["stripe", "ids", "moe-spoken"].map((name) => make("span", { class: name }));
      stripe.setAttribute("aria-hidden", "true");
      ids.setAttribute("aria-hidden", "true");
      const button = make("button", { type: "button", class: "token" },
        make("span", { class: "word" }, visible(token)), said, stripe, ids);
      button.addEventListener("click", () => pick(place, button.getAttribute("aria-pressed") === "true"));
      button.addEventListener("keydown", (event) => arrowKeys(event, place, parts.length - 1, (to) => {
        pick(to, false);
        parts[to].button.focus();
      }));
      return { button, stripe, ids, said };
    });
    // A line of the text ends where a token ends it.
    words.replaceChildren(...parts.flatMap(({ button }, place) =>
      (text.tokens[place].endsWith("\n") ? [button, make("span", { class: "end" })] : [button])));
    words.setAttribute("aria-label", `text: ${text.name}`);
    title.textContent = text.domain && text.domain !== text.name ? `${text.name} (${text.domain})` : text.name;
    shown = text;
  };
  const update = (text, state, { router, focus, sorted, differs }) => {
    if (text !== shown) build(text);
    const { ids, gates, margins } = text[router];
    const knocked = state.knocked && router === "trained" && state.expert >= 0 && text.removed;
    const rises = text.tokens.map((_, i) => riseOf(text, i, state.layer, state.expert));
    const most = Math.max(0.3, ...rises.filter((rise) => !Number.isNaN(rise)).map(Math.abs));
    parts.forEach(({ button, stripe, ids: below, said }, i) => {
      const [experts, sure] = [ids[i][state.layer], surer(margins[i][state.layer], sorted)];
      Object.entries(look(experts[0])).forEach(([name, value]) => button.setAttribute(name, value));
      button.style.setProperty("--tint", `${(10 + 32 * sure).toFixed(0)}%`);
      stripe.replaceChildren(...experts.map((e, k) => {
        const piece = make("span", look(e));
        piece.style.flexGrow = gates[i][state.layer][k];
        return piece;
      }));
      const felt = knocked && Math.abs(rises[i]) > Math.max(state.noise, 0.005);
      const sign = knocked ? (felt ? signed(rises[i]) : "·") : shortly(experts);
      below.textContent = differs?.has(i) ? `≠ ${sign}` : sign;
      button.classList.toggle("close", sure < CLOSE);
      button.classList.toggle("other", state.expert >= 0 && !experts.includes(state.expert));
      button.classList.toggle("worse", Boolean(felt) && rises[i] > 0);
      button.classList.toggle("better", Boolean(felt) && rises[i] < 0);
      if (knocked) button.style.setProperty("--felt", `${felt ? (12 + 40 * Math.abs(rises[i]) / most).toFixed(0) : 0}%`);
      button.classList.toggle("knocked", Boolean(knocked));
      button.setAttribute("aria-pressed", i === focus);
      button.tabIndex = i === Math.max(0, focus) ? 0 : -1;
      said.textContent = `: ${experts.length > 1 ? "experts" : "expert"} ${listed(experts.map(String))}`
        + `${differs?.has(i) ? ", parted" : ""}${felt ? `, loss ${signed(rises[i])}` : ""}`;
    });
  };
  return { node: make("div", { class: second ? "text second" : "text" }, title, words), update };
}

const [WIDTH, LEFT, MIDDLE, RIGHT] = [900, 74, 610, 846];
const DASHES = ["5 3", "2 2", "9 3 2 3"];

/** Where two paths part: tokens from left to right, layers from top to bottom, shares at the right. */
function pathGrid(change) {
  const svg = draw("svg", { class: "paths", role: "img" });
  const key = make("p", { class: "key" });
  let columns = 0;
  svg.addEventListener("click", ({ clientX, clientY }) => {
    const { left, top, width } = svg.getBoundingClientRect();
    const [x, y] = [(clientX - left) * (WIDTH / width), (clientY - top) * (WIDTH / width)];
    const column = Math.floor(((x - LEFT) / (MIDDLE - LEFT)) * columns);
    const row = Math.floor((y - 30) / Number(svg.dataset.row));
    if (column >= 0 && column < columns) change({ token: column, layer: Math.max(0, Math.min(Number(svg.dataset.rows) - 1, row)) });
  });
  const update = (state, first, parts, begin, references) => {
    const n = state.layers.length;
    const row = Math.max(14, Math.min(34, 240 / n));
    columns = first.tokens.length;
    Object.assign(svg.dataset, { row, rows: n });
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${30 + n * row + 4}`);
    const wide = (MIDDLE - LEFT) / columns;
    const shares = divergence(parts, n);
    const across = (share) => MIDDLE + 24 + share * (RIGHT - MIDDLE - 24);
    const rows = range(n).flatMap((l) => {
      const base = 30 + (l + 1) * row - 3;
      const high = row - 6;
      const bars = parts.map((own, i) => (own && own[l] > 0
        ? `M${(LEFT + i * wide + wide * 0.15).toFixed(1)} ${base}h${(wide * 0.7).toFixed(1)}v${(-own[l] * high).toFixed(1)}h${(-wide * 0.7).toFixed(1)}z` : ""));
      const same = parts.map((own, i) => (own && own[l] === 0
        ? `M${(LEFT + (i + 0.5) * wide - 1).toFixed(1)} ${base - 1}h2` : ""));
      const marks = references.map(({ mean: means, low, high: top }, r) => draw("g", { class: "reference" },
        low.length ? draw("rect", { x: across(low[l]), y: base - high, width: Math.max(1, across(top[l]) - across(low[l])), height: high }) : "",
        draw("path", { d: `M${across(means[l])} ${base - high - 1}v${high + 2}`, "stroke-dasharray": DASHES[r] })));
      return [
        draw("rect", { class: l === state.layer ? "row now" : "row", x: 0, y: base - high - 2, width: WIDTH, height: high + 4, rx: 3 }),
        draw("text", { class: "name", x: LEFT - 10, y: base - high / 2 + 4.5 }, `layer ${state.layers[l]}`),
        draw("path", { class: "base", d: `M${LEFT} ${base}H${MIDDLE}` }),
        draw("path", { class: "same", d: same.join("") }), draw("path", { class: "bars", d: bars.join("") }),
        draw("path", { class: "base", d: `M${across(0)} ${base}H${across(1)}` }),
        ...marks,
        draw("rect", { class: "share", x: across(0), y: base - high * 0.72, width: across(shares[l]) - across(0), height: high * 0.5 }),
        draw("text", { class: "number", x: WIDTH - 4, y: base - high / 2 + 4.5 }, percent(shares[l])),
      ];
    });
    const here = LEFT + begin * wide;
    svg.replaceChildren(
      ...rows,
      draw("path", { class: "begin", d: `M${here} 24V${30 + n * row}` }),
      draw("text", { class: "head", x: Math.min(here, MIDDLE - 190), y: 16 }, "▾ the texts begin to differ"),
      draw("text", { class: "head", x: across(0), y: 16 }, "choices that differ, 0 to 100 %"),
      ...(state.token >= 0 ? [draw("rect", { class: "here", x: LEFT + state.token * wide, y: 26, width: wide, height: n * row + 4, rx: 2 })] : []),
    );
    svg.setAttribute("aria-label", `Share of the choices that differ: ${shares.map((share, l) =>
      `layer ${state.layers[l]} ${percent(share)}`).join(", ")}.`);
    key.replaceChildren("height of a bar: the share of a token's experts that differ; a dot: the same experts; none: nothing to compare",
      ...references.map(({ name, mean: means, low, high }, r) => make("span", { class: "reference" },
        draw("svg", { class: "mark", viewBox: "0 0 22 8", "aria-hidden": "true" }, draw("path", { d: "M0 4H22", "stroke-dasharray": DASHES[r] })),
        `${name}, layer ${state.layers[state.layer]}: ${percent(means[state.layer])}`
        + (low.length ? ` (${percent(low[state.layer])} to ${percent(high[state.layer])})` : ""))));
  };
  return { node: make("div", { class: "compared" }, scrollBox(svg), key), update };
}

/** One number in a tinted cell. */
function cell(kind) {
  const node = make("span", { class: `cell ${kind}` });
  return {
    node,
    update(text, part) {
      node.textContent = text;
      node.style.setProperty("--part", `${Math.max(0, Math.min(60, part)).toFixed(0)}%`);
    },
  };
}

/** Every expert of the layer: its load, where its tokens come from, and the damage without it. */
function expertTable({ nExperts, domains, hasDamage }, change) {
  const rows = range(nExperts).map((e) => {
    const disc = make("button", { type: "button", class: "disc" }, String(e));
    const [bar, share] = [make("span", { class: "bar" }), make("span", { class: "share" })];
    const fair = make("span", { class: "fair" });
    fair.style.left = `var(--fair)`;
    const [mix, hurt] = ["mix", "hurt"].map((kind) => (kind === "hurt" && !hasDamage ? [] : domains.map(() => cell(kind))));
    const node = make("div", { class: "row", role: "listitem", ...look(e) }, disc,
      make("span", { class: "track" }, bar, fair), share,
      make("span", { class: "gap" }), ...mix.map((each) => each.node),
      make("span", { class: "gap" }), ...hurt.map((each) => each.node));
    disc.addEventListener("click", () => change({ expert: disc.getAttribute("aria-pressed") === "true" ? -1 : e }));
    disc.addEventListener("keydown", (event) => arrowKeys(event, e, nExperts - 1, (to) => {
      change({ expert: to });
      rows[to].disc.focus();
    }));
    return { node, disc, bar, share, mix, hurt };
  });
  const all = domains.map(() => cell("mix"));
  const head = (text, attributes = {}) => make("span", { class: "head", ...attributes }, text);
  const damageHead = head(hasDamage ? "loss without it, change in nats" : "", { style: `grid-column: span ${domains.length}` });
  const names = () => domains.map((name) => head(name, { title: name }));
  const groups = domains.length * (hasDamage ? 2 : 1);
  const node = make("div", { class: "experts", role: "list", "aria-label": "experts of the layer" },
    make("div", { class: "row heads", "aria-hidden": "true" }, head(""), head("load ┆ fair share", { style: "grid-column: span 2" }),
      make("span", { class: "gap" }), head("where its tokens come from", { style: `grid-column: span ${domains.length}` }),
      make("span", { class: "gap" }), ...(hasDamage ? [damageHead] : [])),
    make("div", { class: "row heads", "aria-hidden": "true" }, head(""), head("", { style: "grid-column: span 2" }),
      make("span", { class: "gap" }), ...names(), make("span", { class: "gap" }), ...(hasDamage ? names() : [])),
    ...rows.map((row) => row.node),
    make("div", { class: "row all", role: "listitem" }, head("all", { style: "grid-column: span 3" }),
      make("span", { class: "gap" }), ...all.map((each) => each.node), make("span", { class: "gap" }),
      ...(hasDamage ? domains.map(() => make("span")) : [])));
  node.style.setProperty("--columns", `1.9rem minmax(4.5rem, 1.6fr) 3rem 0.5rem repeat(${domains.length}, minmax(2.6rem, 1fr))`
    + (groups > domains.length ? ` 0.5rem repeat(${domains.length}, minmax(2.9rem, 1fr))` : " 0"));
  const update = (state, table, damage) => {
    const loads = loadOf(table);
    const [most, worst] = [Math.max(...loads), damage ? Math.max(...damage.flat().map(Math.abs), 1e-9) : 1];
    node.style.setProperty("--fair", `${100 / nExperts / most}%`);
    const base = mixOf(domains.map((_, d) => sum(table.map((row) => row[d]))));
    all.forEach((each, d) => each.update(percent(base[d]), 60 * base[d]));
    rows.forEach(({ node: row, disc, bar, share, mix, hurt }, e) => {
      const own = mixOf(table[e]);
      bar.style.width = `${(100 * loads[e]) / most}%`;
      share.textContent = percent(loads[e]);
      mix.forEach((each, d) => each.update(own ? percent(own[d]) : "–", own ? 60 * own[d] : 0));
      const known = damage && state.view !== "untrained";
      hurt.forEach((each, d) => {
        const rise = known ? damage[e][d] : NaN;
        each.update(known ? (Math.abs(rise) > state.noise ? signed(rise) : "±0") : "", known && rise > state.noise ? (60 * rise) / worst : 0);
        each.node.classList.toggle("small", known && Math.abs(rise) <= state.noise);
      });
      row.classList.toggle("now", e === state.expert);
      disc.setAttribute("aria-pressed", e === state.expert);
      disc.tabIndex = e === Math.max(0, state.expert) ? 0 : -1;
      disc.setAttribute("aria-label", `expert ${e}: load ${percent(loads[e])}`
        + (own ? `, ${domains.map((name, d) => `${name} ${percent(own[d])}`).join(", ")}` : ", no tokens")
        + (known ? `; without it ${domains.map((name, d) => `${name} ${signed(damage[e][d])}`).join(", ")}` : ""));
    });
    if (hasDamage) damageHead.textContent = state.view === "untrained" ? "(knocked out of the trained model only)" : "loss without it, change in nats";
  };
  return { node: scrollBox(node), update };
}

/** What the expert tells about the domain: hidden until somebody has guessed. */
function measuring(views, beyond, change) {
  const button = make("button", { type: "button" });
  button.addEventListener("click", () => change((state) => ({ measured: !state.measured })));
  const entry = (name) => {
    const [bar, number] = [make("span", { class: "bar" }), make("span", { class: "share" })];
    const node = make("div", { class: "bit", role: "listitem" }, make("span", {}, VIEWS[name]), make("span", { class: "track" }, bar), number);
    return { name, node, bar, number };
  };
  const [direct, further] = [views.map(entry), Object.keys(beyond).map(entry)];
  const heads = [make("p", { class: "title" }), make("p", { class: "title" }, "… to somebody who already knows the token")];
  const body = make("div", { class: "bits" },
    make("div", { role: "list" }, heads[0], ...direct.map(({ node }) => node)),
    ...(further.length ? [make("div", { role: "list" }, heads[1], ...further.map(({ node }) => node))] : []));
  const update = (state, counts) => {
    button.textContent = state.measured ? "hide the measurement" : "measure: what does the expert tell about the domain?";
    button.setAttribute("aria-expanded", state.measured);
    body.hidden = !state.measured;
    const table = counts.trained[state.layer];
    const most = sum(mixOf(state.domains.map((_, d) => sum(table.map((row) => row[d])))).map((p) => (p > 0 ? -p * Math.log2(p) : 0)));
    heads[0].textContent = `What the expert tells about the domain, in bits of ${most.toFixed(2)} at most`;
    const set = ({ name, node, bar, number }, bits) => {
      bar.style.width = `${Math.max(0, Math.min(100, (100 * bits) / most))}%`;
      number.textContent = bits.toFixed(2).replace("-0.00", "0.00");
      node.classList.toggle("now", name === state.view);
    };
    direct.forEach((each) => set(each, bitsAbout(counts[each.name][state.layer])));
    further.forEach((each) => set(each, beyond[each.name][state.layer]));
  };
  return { node: make("div", { class: "measure" }, button, body), update };
}

function buildControls(data, fixed, change) {
  const text = menu("text", (name) => change({ text: name }));
  const second = menu("beside it", (name) => change({ second: name }));
  const layer = slider("layer", { min: 0, max: fixed.layers.length - 1 }, (l) => change({ layer: l }));
  const view = oneOf("look at", fixed.views.map((name) => [name, VIEWS[name]]), (name) => change({ view: name }));
  const knock = make("button", { type: "button", class: "knock" });
  knock.addEventListener("click", () => change((state) => ({ knocked: !state.knocked })));
  knock.disabled = !data.damage && !data.texts.some(({ removed }) => removed);
  return {
    node: make("div", { class: "controls" }, text.node, second.node, layer.node,
      make("div", { class: "field views" }, make("span", {}, "look at"), view.node),
      make("div", { class: "field" }, make("span", {}, "what if it were gone"), knock)),
    update(state) {
      text.update(data.texts.map(({ name }) => name), state.text);
      const others = beside(state.pairs, state.text);
      second.update([["", others.length ? "nothing" : "nothing stored"], ...others], state.second);
      second.node.querySelector("select").disabled = !others.length;
      layer.update(state.layer, state.layers[state.layer]);
      view.update(state.view);
      knock.textContent = state.expert < 0 ? "knock out an expert" : `knock out expert ${state.expert}`;
      knock.setAttribute("aria-pressed", state.knocked);
    },
  };
}

/** The traits as one plain object. */
const read = (model) => ({
  texts: model.get("texts"), ids: model.get("ids"), gates: model.get("gates"), margins: model.get("margins"),
  losses: model.get("losses"), counts: model.get("counts"), damage: model.get("damage"), shape: model.get("shape"),
  domains: model.get("domains"), layers: model.get("layers"), views: model.get("views"), beyond: model.get("beyond"),
  pairs: model.get("pairs"), references: model.get("references"), noise: model.get("noise"), note: model.get("note"),
  text: model.get("text"), second: model.get("second"), layer: model.get("layer"), token: model.get("token"),
  expert: model.get("expert"), view: model.get("view"), knocked: model.get("knocked"), measured: model.get("measured"),
});
const STATE = ["text", "second", "layer", "token", "expert", "view", "knocked", "measured"];

/** A state whose token and second text belong to its text: traits may arrive one after the other. */
export function fitted(state, data) {
  const { tokens } = data.texts.find(({ name }) => name === state.text);
  const second = beside(state.pairs, state.text).includes(state.second) ? state.second : "";
  return { ...state, second, token: Math.min(state.token, tokens.length - 1) };
}

/** Everything the parts need of a state: the texts, the router, where two paths part. */
export function planOf(state, data) {
  const named = (name) => data.texts.find((text) => text.name === name) ?? null;
  const [first, second] = [named(state.text), named(state.second)];
  const router = state.view === "untrained" ? "untrained" : "trained";
  const places = second ? partners(state.pairs, state.text, state.second) : [];
  const parts = second ? partings(first[router], second[router], places) : [];
  const begin = second ? first.tokens.findIndex((token, i) => token !== second.tokens[i]) : 0;
  return {
    first, second, router, parts, begin,
    // Before the first difference the places are the same in both.
    across: new Map([...range(begin).map((i) => [i, i]), ...places]),
    sorted: marginsAt(data.texts, router, state.layer),
    differs: new Set(places.filter(([i]) => parts[i][state.layer] > 0).map(([, j]) => j)),
  };
}

function render({ model, el }) {
  const fixed = read(model);
  const data = unpack(fixed);
  const change = (given) => {
    const state = read(model);
    const updates = typeof given === "function" ? given(state) : given;
    const { second, token } = fitted({ ...state, ...updates }, data);
    save(model, { ...updates, second, token });
  };
  const controls = buildControls(data, fixed, change);
  let plan = null;
  const blocks = [
    textBlock(false, (place, again) => change({ token: again ? -1 : place })),
    textBlock(true, (place, again) => {
      const own = [...plan.across].find(([, other]) => other === place);
      if (own) change({ token: again ? -1 : own[0] });
    }),
  ];
  const grid = pathGrid(change);
  const experts = expertTable({ nExperts: fixed.shape.n_experts, domains: fixed.domains, hasDamage: Boolean(data.damage) }, change);
  const bits = measuring(fixed.views, fixed.beyond, change);
  const said = range(4).map(() => make("p", {}));
  const status = make("div", { class: "status", role: "status", "aria-live": "polite", "aria-atomic": "false" }, ...said);
  const [origin, key] = [make("p", { class: "origin" }, fixed.note), make("p", { class: "key" })];
  origin.hidden = !fixed.note;
  const root = make("div", { class: "moe-widget moe-route-explorer", role: "group", "aria-label": "Route explorer" },
    origin, controls.node, ...blocks.map(({ node }) => node), key, status, grid.node, experts.node, bits.node);
  const update = () => {
    const state = fitted(read(model), data);
    plan = planOf(state, data);
    const { first, second, router, parts, begin, across, sorted, differs } = plan;
    const [table, damage] = [data.counts[state.view][state.layer], data.damage && data.damage[state.layer]];
    controls.update(state);
    blocks[0].update(first, state, { router, sorted, focus: state.token });
    blocks[1].node.hidden = grid.node.hidden = !second;
    if (second) {
      blocks[1].update(second, state, { router, sorted, differs, focus: across.get(state.token) ?? -1 });
      grid.update(state, first, parts, begin, state.references);
    }
    experts.update(state, table, damage);
    bits.update(state, data.counts);
    key.textContent = keyWords(state, fixed.shape.n_experts);
    [tokenWords(state, first, router, sorted), expertWords(state, table, damage),
      pairWords(state, parts, state.references), viewWords(state.view)].forEach((words, i) => {
      if (said[i].textContent !== words) said[i].textContent = words; // only what is new is read aloud
      said[i].hidden = !words;
    });
  };
  return mount({ model, el }, root, STATE, update);
}

export default { render };
