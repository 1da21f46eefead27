// What a page of the site does for its reader beyond the theme's own.

const BOXES =
  "article pre, .table-wrapper, .katex-display, .moe-site-picture, .moe-site-output, " +
  ".moe-site-scroll, .moe-widget .scroll";
// Drawn for a wide page, on so many units that no letter is read on a phone.
const WIDE = '.moe-widget svg[viewBox^="0 0 900 "], .moe-cost-chart';

/** A box that scrolls sideways must be reachable by keyboard; one that does not is no stop. */
function reachBoxes() {
  for (const box of document.querySelectorAll(BOXES)) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

/** Put a wide drawing with letters into a box of its own, which the style lets scroll. */
function boxDrawings() {
  for (const drawing of document.querySelectorAll(WIDE)) {
    if (!drawing.querySelector("text") || drawing.closest(".scroll, .moe-site-scroll")) continue;
    const box = document.createElement("div");
    box.className = "moe-site-scroll";
    drawing.replaceWith(box);
    box.append(drawing);
  }
  reachBoxes();
}

/** Let the navigation begin where the reader is: the lower half of it lies below its frame. */
function showPlace() {
  const frame = document.querySelector(".sidebar-scroll");
  const here = frame?.querySelector(".current-page > .reference")?.getBoundingClientRect();
  const { top, bottom } = frame?.getBoundingClientRect() ?? {};
  if (!(here?.bottom > bottom)) return;
  frame.scrollBy({ top: here.top - (top + bottom) / 2, behavior: "instant" });
}

reachBoxes();
showPlace();
addEventListener("load", reachBoxes);
addEventListener("resize", reachBoxes);
// A widget is drawn when its program has come, which is after the page.
new MutationObserver(boxDrawings).observe(document.body, {
  attributeFilter: ["data-moe-alive"],
  subtree: true,
});
