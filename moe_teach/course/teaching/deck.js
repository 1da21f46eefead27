// Shows one slide at a time. Without scripts all of them stand under each other.
const slides = [...document.querySelectorAll("section")];
const where = document.querySelector(".where");
const FORWARD = ["ArrowRight", "ArrowDown", "PageDown", " ", "n"];
const BACK = ["ArrowLeft", "ArrowUp", "PageUp", "p"];

function asked() {
  const number = Number.parseInt(location.hash.slice(1), 10);
  return Number.isNaN(number) ? 0 : number - 1;
}

function show(wanted) {
  const at = Math.min(Math.max(wanted, 0), slides.length - 1);
  slides.forEach((slide, number) => slide.classList.toggle("now", number === at));
  where.textContent = `${at + 1} of ${slides.length}`;
  if (asked() !== at) history.replaceState(null, "", `#${at + 1}`);
  window.scrollTo(0, 0);
  return at;
}

let at = show(asked());
document.documentElement.classList.add("talk");
window.addEventListener("hashchange", () => { at = show(asked()); });
window.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === " " && event.target.closest("summary")) return; // it opens the answer
  if (FORWARD.includes(event.key)) at = show(at + (event.shiftKey ? -1 : 1));
  else if (BACK.includes(event.key)) at = show(at - 1);
  else if (event.key === "Home") at = show(0);
  else if (event.key === "End") at = show(slides.length - 1);
  else if (event.key === "a") {
    const answer = slides[at].querySelector("details");
    if (answer) answer.open = !answer.open;
  } else if (event.key === "d") {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  } else return;
  event.preventDefault();
});
