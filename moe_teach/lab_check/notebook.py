"""One notebook open in JupyterLab, driven through a real browser."""

import ast
import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from moe_teach.lab_check.server import Lab, LabCheckError

SCREENSHOTS = Path("build/screenshots")


class LabNotebook:
    """One notebook, open in JupyterLab with its kernel ready."""

    def __init__(self, page: Page, lab: Lab, notebook: str) -> None:
        self.page = page
        page.goto(lab.url(notebook))
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext")
        page.evaluate(
            """async () => {
              const panel = window.jupyterapp.shell.currentWidget;
              await window.jupyterapp.restored;
              await panel.context.ready;
              await panel.sessionContext.ready;
              window.moeNotebook = panel;
            }"""
        )

    def run_all(self) -> None:
        """Run every cell and wait until the last one is done."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def to_the_top(self) -> None:
        """Show the first cells; after a run JupyterLab stands at the last, and draws no others."""
        self.page.evaluate(
            """async () => {
              window.moeNotebook.content.activeCellIndex = 0;
              await window.moeNotebook.content.scrollToItem(0, "start");
            }"""
        )

    def cells(self) -> list[dict[str, Any]]:
        """Give the cells as the file would hold them, outputs included."""
        return self.page.evaluate("() => window.moeNotebook.model.toJSON().cells")

    def outputs(self, kind: str) -> list[dict[str, Any]]:
        """Give the outputs of one type: "error", "stream", "display_data", "execute_result"."""
        every = [output for cell in self.cells() for output in cell.get("outputs", [])]
        return [output for output in every if output["output_type"] == kind]

    def execute(self, code: str, value: str = "None") -> Any:
        """Run `code` in the kernel, outside the notebook, and give the Python `value` after it.

        It queues behind what the page has already sent, so a trait that a widget has set is seen.
        `value` is an expression whose value JSON can carry.
        """
        reply = self.page.evaluate(
            """async ([code, expression]) => {
              const kernel = window.moeNotebook.sessionContext.session.kernel;
              const future = kernel.requestExecute(
                { code, user_expressions: { value: expression }, store_history: false });
              return (await future.done).content;
            }""",
            [code, f"__import__('json').dumps({value})"],
        )
        answer = reply.get("user_expressions", {}).get("value", reply)
        if answer["status"] != "ok":
            raise LabCheckError(f"{answer['ename']}: {answer['evalue']}")
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def screenshot(self, name: str) -> Path:
        """Save what the browser shows now under `build/screenshots`."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        target = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=target)
        return target
