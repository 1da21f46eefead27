// What a page of the site does for its reader beyond the theme's own.

const BOXES =
  "article pre, .table-wrapper, .katex-display, .moe-site-picture, .moe-site-output";

/** A box that scrolls sideways must be reachable by keyboard; one that does not is no stop. */
function reachBoxes() {
  for (const box of document.querySelectorAll(BOXES)) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

/** Let the navigation begin where the reader is: the lower half of it lies below its frame. */
function showPlace() {
  const frame = document.querySelector(".sidebar-scroll");
  const here = frame?.querySelector(".current-page > .reference")?.getBoundingClientRect();
  const { top, bottom } = frame?.getBoundingClientRect() ?? {};
  if (!(here?.bottom > bottom)) return;
  frame.scrollBy({ top: here.top - (top + bottom) / 2, behavior: "instant" });
}

// What the theme opens at a narrow window's sides, by the box that says whether it is open.
const DRAWERS = { __navigation: ".sidebar-drawer", __toc: ".toc-drawer" };
const ICONS = ".nav-overlay-icon, .toc-overlay-icon, .toctree-checkbox + label";

/** Open and close by keyboard too: the theme's icons are labels, of boxes that nobody can reach. */
function makeButtons() {
  for (const label of document.querySelectorAll(ICONS)) {
    const box = document.getElementById(label.htmlFor);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "moe-site-icon";
    button.setAttribute("aria-label", box.getAttribute("aria-label"));
    button.append(...label.childNodes);
    label.removeAttribute("for"); // what it labels now is the button inside
    label.append(button);
    const tell = () => button.setAttribute("aria-expanded", box.checked);
    tell();
    box.addEventListener("change", tell);
    button.addEventListener("click", ({ detail: clicks }) => {
      box.click();
      const drawer = document.querySelector(DRAWERS[box.id] ?? "none");
      if (!drawer || !box.checked || clicks) return; // a drawer that a key has opened
      const links = [...drawer.querySelectorAll("a[href]")];
      links.find((link) => link.checkVisibility())?.focus(); // the page's own name is hidden
    });
  }
}

/** Let Escape close a drawer, and lead back to the icon that opened it. */
function closeByEscape() {
  for (const [id, selector] of Object.entries(DRAWERS)) {
    const box = document.getElementById(id);
    document.querySelector(selector)?.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || !box.checked) return;
      box.click();
      const icons = [...document.querySelectorAll(".moe-site-icon[aria-label]")];
      const name = box.getAttribute("aria-label");
      icons.find((icon) => icon.ariaLabel === name && icon.checkVisibility())?.focus();
    });
  }
}

makeButtons();
closeByEscape();
reachBoxes();
showPlace();
addEventListener("load", reachBoxes);
addEventListener("resize", reachBoxes);
