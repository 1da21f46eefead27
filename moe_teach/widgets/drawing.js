// What the widgets' scripts share: making elements, the usual controls, and the tie to the model.
// `CourseWidget` joins this text to every script that imports from it.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
}

/** An element of HTML. */
export const make = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** An element of SVG. */
export const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** A box that scrolls sideways what is wider than itself; while it does, the Tab key stops at it. */
export function scrollBox(content) {
  const box = make("div", { class: "scroll" }, content);
  const watcher = new ResizeObserver(() => {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  [box, content].forEach((element) => watcher.observe(element));
  return box;
}

/** Move labels apart so that none covers another, and keep them above `bottom`. */
export function spread(heights, distance, bottom = Infinity) {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b] || a - b);
  const placed = [...heights];
  order.forEach((i, n) => {
    if (n) placed[i] = Math.max(placed[i], placed[order[n - 1]] + distance);
  });
  [...order].reverse().forEach((i, n, back) => {
    placed[i] = Math.min(placed[i], n ? placed[back[n - 1]] - distance : bottom);
  });
  return placed;
}

// ---- controls ---------------------------------------------------------------------------------

/** A slider with its name and the words for its place; `range` holds min, max and step. */
export function slider(label, range, onInput) {
  const input = make("input", { type: "range", ...range, "aria-label": label });
  const value = make("output");
  input.addEventListener("input", () => onInput(Number(input.value)));
  return {
    node: make("label", { class: "field" }, make("span", {}, label), value, input),
    input,
    update(now, text = String(now), last = input.max) {
      input.max = last; // before the value, which would be cut to the range of before
      input.value = now;
      value.textContent = text;
      input.setAttribute("aria-valuetext", text);
    },
  };
}

/** Buttons of which one is pressed; `options` are pairs of value and text. */
export function oneOf(label, options, onPick) {
  const buttons = options.map(([value, text]) => {
    const button = make("button", { type: "button" }, text);
    button.addEventListener("click", () => onPick(value));
    return [value, button];
  });
  return {
    node: make("span", { class: "choices", role: "group", "aria-label": label },
      ...buttons.map(([, button]) => button)),
    update: (now) => buttons.forEach(([value, button]) => button.setAttribute("aria-pressed", value === now)),
  };
}

/** A list to choose from; `update` takes the choices, each a value or a pair of value and text. */
export function menu(label, onChange) {
  const select = make("select", { "aria-label": label });
  select.addEventListener("change", () => onChange(select.value));
  let offered = "";
  return {
    node: make("label", { class: "field" }, make("span", {}, label), select),
    update(choices, now) {
      const options = choices.map((choice) => [choice, choice].flat().slice(0, 2));
      if (offered !== (offered = JSON.stringify(options))) {
        select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
      }
      select.value = now;
    },
  };
}

/** Numbers with their names; `update` takes for each name its number, and with notes its small print. */
export function namedNumbers(names, { notes = false } = {}) {
  const parts = [{}, { class: "note" }].slice(0, notes ? 2 : 1);
  const cells = names.map(() => parts.map((attributes) => make("dd", attributes)));
  return {
    node: make("dl", {}, ...names.map((name, i) => make("div", {}, make("dt", {}, name), ...cells[i]))),
    update: (texts) => cells.forEach((row, i) => row.forEach((cell, n) => { cell.textContent = [texts[i]].flat()[n]; })),
  };
}

// ---- tokens and experts -----------------------------------------------------------------------

export const HUES = 8; // experts beyond them repeat the colours, with another border

/** The look of an expert: a hue of eight, and a border that tells the eights apart. */
export const look = (e) => ({ style: `--hue: var(--expert-${e % HUES})`, "data-round": Math.floor(e / HUES) % 4 });

/** A token as it can be read: white space that stands alone is shown. */
export const visible = (token) =>
  (token.trim() ? token.replace(/\n/g, "↵") : token.replace(/\n/g, "↵").replace(/ /g, "␣") || "∅");

/** Arrow keys, Home and End among `last + 1` things of which `place` has the focus. */
export function arrowKeys(event, place, last, pick) {
  const to = {
    ArrowLeft: place - 1, ArrowUp: place - 1, ArrowRight: place + 1, ArrowDown: place + 1, Home: 0, End: last,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  pick(Math.max(0, Math.min(last, to)));
}

// ---- the model --------------------------------------------------------------------------------

/** A DataView need not begin where a number may: copy it. */
export const copied = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);

/** Set several traits; `names` gives a trait's name where the script calls it otherwise. */
export function save(model, updates, names = {}) {
  Object.entries(updates).forEach(([key, value]) => model.set(names[key] ?? key, value));
  model.save_changes();
}

/** At most one drawing per frame, however many traits changed. */
export function oncePerFrame(update) {
  let waiting = 0;
  const cancel = () => cancelAnimationFrame(waiting);
  const schedule = () => {
    cancel();
    waiting = requestAnimationFrame(update);
  };
  return { schedule, cancel };
}

/**
 * Put `root` on the page, draw it, and draw again whenever one of `traits` changes.
 *
 * `changed` is what a change calls, where that is not `update` at once. Gives the function that
 * stops listening.
 */
export function mount({ model, el }, root, traits, update, changed = update) {
  // Arrow keys belong to what has the focus: JupyterLab looks for this mark on the element itself.
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
  el.append(root);
  const events = traits.map((name) => `change:${name}`);
  events.forEach((event) => model.on(event, changed));
  update();
  return () => events.forEach((event) => model.off(event, changed));
}
