// Asks the server for a text with its routing trace, and draws every token as it arrives.

const HUES = 8;

// ---- the arithmetic ---------------------------------------------------------------------------

/** Cut server-sent events out of what has arrived; what is not complete stays in `rest`. */
export function eventsIn(buffer) {
  const parts = buffer.split("\n\n");
  const rest = parts.pop();
  const data = parts.flatMap((part) => part.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)));
  return { data, rest };
}

/** How a token is written: spaces and line ends are to be seen, pieces of characters too. */
export function visible(text) {
  if (text === "") return "◌";
  return text.replace(/^ /, "␣").replace(/ $/, "␣").replace(/\n/g, "↵").replace(/\t/g, "→");
}

/** The experts behind a token in a layer, best first; nobody in a model without experts. */
export const whoIn = ({ experts }, layer) => experts[layer] ?? [];

/** How often each expert worked in a layer, busiest first. */
export function loadOf(tokens, layer) {
  const counts = new Map();
  tokens.forEach((token) => whoIn(token, layer).forEach((e) => counts.set(e, (counts.get(e) ?? 0) + 1)));
  const total = [...counts.values()].reduce((a, b) => a + b, 0);
  return [...counts].sort(([a, m], [b, n]) => n - m || a - b).map(([expert, count]) => ({ expert, count, share: count / total }));
}

/** What a screen reader says of a token. */
export function spoken(token, layer) {
  return `token ${JSON.stringify(token.token)}, experts ${whoIn(token, layer).join(" and ")} in layer ${layer}`;
}

/** The sentence of an error, in whatever form it came. */
export async function sentenceOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

// ---- the page ---------------------------------------------------------------------------------

const state = { tokens: [], layer: 0, chosen: -1, nLayers: 0, model: null, version: null, abort: null };
const at = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function bars(rows) {
  const list = make("div", "bars");
  rows.forEach(({ expert, share, value }) => {
    const track = make("div", "track");
    const bar = make("div", `bar hue-${expert % HUES}`);
    bar.style.width = `${100 * share}%`;
    track.append(bar);
    list.append(make("span", "name", `expert ${expert}`), track, make("span", "", value));
  });
  return list;
}

function tokenButton(token, place) {
  const button = make("button", "token");
  button.type = "button";
  button.dataset.place = place;
  button.append(make("span", "text", visible(token.token)), make("span", "who"));
  paint(button, token);
  button.tabIndex = place === Math.max(state.chosen, 0) ? 0 : -1;
  return button;
}

function paint(button, token) {
  const who = whoIn(token, state.layer);
  button.className = `token hue-${(who[0] ?? HUES - 1) % HUES}`;
  button.querySelector(".who").textContent = who.join("·");
  button.setAttribute("aria-label", spoken(token, state.layer));
  button.setAttribute("aria-pressed", String(Number(button.dataset.place) === state.chosen));
}

function append(token) {
  state.tokens.push(token);
  at("tokens").append(tokenButton(token, state.tokens.length - 1));
  if (token.token.endsWith("\n")) at("tokens").append(document.createElement("br"));
}

function choose(place, focus = false) {
  if (place < 0 || place >= state.tokens.length) return;
  state.chosen = place;
  at("tokens").querySelectorAll(".token").forEach((button) => {
    const isChosen = Number(button.dataset.place) === place;
    button.setAttribute("aria-pressed", String(isChosen));
    button.tabIndex = isChosen ? 0 : -1;
    if (isChosen && focus) button.focus();
  });
  drawToken();
}

function drawToken() {
  const box = at("token");
  const token = state.tokens[state.chosen];
  if (!token) {
    box.replaceChildren(make("p", "hint", "Choose a token to see which experts worked for it, layer by layer, and with what gates."));
    return;
  }
  const title = make("p", "", `${JSON.stringify(token.token)} is token ${state.chosen + 1} of the answer, id ${token.token_id}. These experts predicted it:`);
  const layers = token.experts.flatMap((experts, layer) => [
    make("p", "layer-name", `Layer ${layer}`),
    bars(experts.map((expert, i) => ({ expert, share: token.gates[layer][i], value: token.gates[layer][i].toFixed(3) }))),
  ]);
  box.replaceChildren(title, ...layers);
}

function drawLoad() {
  const rows = state.tokens.length ? loadOf(state.tokens, state.layer) : [];
  if (!rows.length) {
    at("load").replaceChildren(make("p", "hint", "Nobody yet."));
    return;
  }
  const most = rows[0].share;
  at("load").replaceChildren(bars(rows.map(({ expert, count, share }) => ({ expert, share: share / most, value: `${count}, ${(100 * share).toFixed(0)} %` }))));
}

function repaint() {
  at("tokens").querySelectorAll(".token").forEach((button) => paint(button, state.tokens[Number(button.dataset.place)]));
  drawLoad();
}

const headers = () => ({
  "content-type": "application/json",
  ...(at("key").value ? { authorization: `Bearer ${at("key").value}` } : {}),
});

function problem(sentence, status) {
  at("problem").textContent = sentence;
  if (status === 401) at("key-field").hidden = false;
}

async function introduce() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) {
    problem(await sentenceOf(response), response.status);
    at("model").textContent = "The server does not say what it serves.";
    return false;
  }
  const [model] = (await response.json()).data;
  state.model = model.id;
  state.nLayers = model.moe.n_layers;
  at("model").textContent = `${model.id}: ${model.moe.n_layers} layers of ${model.moe.n_experts} experts, ${model.moe.top_k} for each token; texts of up to ${model.moe.max_seq_len} tokens.`;
  at("layer").replaceChildren(...Array.from({ length: state.nLayers }, (_, layer) => new Option(String(layer), String(layer))));
  return true;
}

function begin() {
  Object.assign(state, { tokens: [], chosen: -1, abort: new AbortController() });
  at("tokens").replaceChildren();
  at("go").disabled = true;
  at("stop").disabled = false;
  at("status").textContent = "waiting for the first token ...";
  problem("");
  drawToken();
  drawLoad();
}

function end(words) {
  at("go").disabled = false;
  at("stop").disabled = true;
  if (document.activeElement === document.body) at("go").focus(); // who pressed it loses it meanwhile
  at("status").textContent = `${state.tokens.length} tokens, ${words}`;
}

async function* chunks(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const { data, rest } = eventsIn(buffer + value);
    buffer = rest;
    for (const one of data) {
      if (one !== "[DONE]") yield JSON.parse(one);
    }
  }
}

async function speak(response) {
  let ending = "which the server did not finish";
  for await (const chunk of chunks(response)) {
    if (chunk.error) {
      problem(chunk.error.message);
      break;
    }
    chunk.moe.trace.forEach(append);
    drawLoad();
    at("status").textContent = `${state.tokens.length} tokens, version ${chunk.moe.version} of the weights`;
    const reason = chunk.choices[0].finish_reason;
    if (reason) ending = `${reason === "stop" ? "ended by the model" : "as many as were asked for"}, version ${chunk.moe.version} of the weights`;
  }
  return ending;
}

async function ask(event) {
  event.preventDefault();
  begin();
  try {
    if (!state.model && !(await introduce())) return end("nothing was asked");
    const body = {
      model: state.model, prompt: at("prompt").value, max_tokens: Number(at("count").value),
      temperature: Number(at("temperature").value), seed: Number(at("seed").value), stream: true, moe_trace: true,
    };
    const response = await fetch("v1/completions", { method: "POST", headers: headers(), body: JSON.stringify(body), signal: state.abort.signal });
    if (!response.ok) {
      problem(await sentenceOf(response), response.status);
      return end("refused");
    }
    end(await speak(response));
  } catch (failure) {
    if (failure.name === "AbortError") return end("stopped by you");
    problem("The server went away: is it still running?");
    end("broken off");
  }
  return undefined;
}

function walk(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const jump = { Home: 0, End: state.tokens.length - 1 }[event.key];
  if (step === undefined && jump === undefined) return;
  event.preventDefault();
  choose(jump ?? Math.min(Math.max(state.chosen + step, 0), state.tokens.length - 1), true);
}

function open() {
  at("ask").addEventListener("submit", ask);
  at("stop").addEventListener("click", () => state.abort?.abort());
  at("layer").addEventListener("change", () => {
    state.layer = Number(at("layer").value);
    repaint();
  });
  at("tokens").addEventListener("click", (event) => {
    const button = event.target.closest(".token");
    if (button) choose(Number(button.dataset.place));
  });
  at("tokens").addEventListener("keydown", walk);
  drawToken();
  drawLoad();
  introduce().catch(() => problem("The server went away: is it still running?"));
}

if (globalThis.document) open();
