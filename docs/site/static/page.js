// What a page of the site does for its reader beyond the theme's own.

const BOXES = "article pre, .table-wrapper, .katex-display, .moe-site-picture, .moe-site-output";

/** A box that scrolls sideways must be reachable by keyboard; one that does not is no stop. */
function reachBoxes() {
  for (const box of document.querySelectorAll(BOXES)) {
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

reachBoxes();
addEventListener("load", reachBoxes);
addEventListener("resize", reachBoxes);
