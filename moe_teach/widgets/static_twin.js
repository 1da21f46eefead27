// Stands in for the Jupyter model on a page without a kernel. Python's `CourseWidget.html` inlines
// this text together with the widget's script, style and traits; `startTwin` brings it to life.

/** A model with the part of Backbone's interface that the widgets use: get, set, on, off. */
function twinModel(state) {
  const listeners = new Map();
  const words = (names) => String(names).split(/\s+/);
  const emit = (event, ...details) =>
    [...(listeners.get(event) ?? [])].forEach((callback) => callback(...details));
  const model = {
    get: (name) => state[name],
    set(name, value) {
      const updates = typeof name === "object" ? name : { [name]: value };
      const changed = Object.keys(updates).filter((key) => !alike(state[key], updates[key]));
      Object.assign(state, updates);
      changed.forEach((key) => emit(`change:${key}`, model, state[key]));
      if (changed.length) emit("change", model);
    },
    on(names, callback) {
      for (const name of words(names)) {
        listeners.set(name, (listeners.get(name) ?? new Set()).add(callback));
      }
    },
    off(names, callback) {
      for (const name of names ? words(names) : [...listeners.keys()]) {
        if (callback) listeners.get(name)?.delete(callback);
        else listeners.delete(name);
      }
    },
    save_changes() {}, // nobody listens: there is no Python
    send() {},
  };
  return model;
}

/** Equal as far as a widget's traits go: plain values, lists and dictionaries. */
function alike(a, b) {
  return Object.is(a, b) || (typeof a === "object" && JSON.stringify(a) === JSON.stringify(b));
}

/** Bytes arrive in the live widget as a DataView, so here too. */
function toDataView(text) {
  return new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

/** Find this twin's element: the script's own parent, or the first twin not yet started. */
function twinElement(digest) {
  const waiting = `[data-moe-twin="${digest}"]:not([data-moe-alive])`;
  return document.currentScript?.closest(waiting) ?? document.querySelector(waiting);
}

async function startTwin(digest, { name, esm, css, state, binary }) {
  const host = twinElement(digest);
  if (!host) return;
  host.dataset.moeAlive = "starting";
  const address = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  try {
    const { default: widget } = await import(address);
    const style = document.createElement("style");
    style.textContent = css;
    const el = document.createElement("div");
    Object.entries(binary).forEach(([key, text]) => (state[key] = toDataView(text)));
    host.append(style, el);
    await widget.render({ model: twinModel(state), el });
    host.querySelector("[data-moe-still]").hidden = true;
    host.dataset.moeAlive = "yes";
  } catch (problem) {
    host.dataset.moeAlive = "no"; // the picture and the words stay
    console.error(`${name} did not start on this page:`, problem);
  } finally {
    URL.revokeObjectURL(address);
  }
}
