
/** Start every widget of this page that waits for one program; the program's own file calls this. */
function startTwins(code, program) {
  for (const host of document.querySelectorAll(`[data-moe-code="${code}"]:not([data-moe-alive])`)) {
    const state = JSON.parse(host.querySelector('script[type="application/json"]').textContent);
    startTwin(host.dataset.moeTwin, { ...program, ...state });
  }
}
