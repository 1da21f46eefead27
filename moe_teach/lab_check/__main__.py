"""`python -m moe_teach.lab_check`: open chapter 00 in a real JupyterLab, in a real browser."""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import TimeoutError, sync_playwright

from moe_teach import __version__
from moe_teach.lab_check.notebook import LabNotebook
from moe_teach.lab_check.server import LabCheckError, launch_chromium, running_jupyterlab

NOTEBOOK = Path("notebooks/00_start_here.ipynb")
SECONDS_TO_RUN, SECONDS_TO_SEE = 300, 20


def check_lab(notebook: Path = NOTEBOOK) -> str:
    """Run every cell of `notebook` in JupyterLab through a browser; give a sentence of success.

    Works on a copy, so the notebook and the learner's progress stay as they are. Raises
    `LabCheckError` when a cell fails or the set-up line is not to be seen.
    """
    if not notebook.is_file():
        raise LabCheckError(f"{notebook} was not found: run this in the folder of the course.")
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(notebook, scratch)
        with running_jupyterlab(Path(scratch)) as lab, sync_playwright() as playwright:
            page = launch_chromium(playwright).new_page(viewport={"width": 1280, "height": 1600})
            page.set_default_timeout(SECONDS_TO_RUN * 1000)
            opened = LabNotebook(page, lab, notebook.name)
            opened.run_all()
            opened.to_the_top()
            _judge(opened)
            picture = opened.screenshot("lab_check")
    return f"{notebook.name} ran in JupyterLab without an error; the picture is {picture}."


def _judge(opened: LabNotebook) -> None:
    for error in opened.outputs("error"):
        raise LabCheckError(f"A cell failed with {error['ename']}: {error['evalue']}")
    line = opened.page.locator(".jp-OutputArea").get_by_text(f"moe_teach {__version__}").first
    try:
        line.wait_for(timeout=SECONDS_TO_SEE * 1000)
    except TimeoutError as unseen:
        raise LabCheckError(
            "The set-up line is not to be seen: the first cells did not run."
        ) from unseen


def main() -> int:
    """Print one sentence; give 0 when the course opens and runs, 1 when it does not."""
    try:
        print(check_lab())
    except LabCheckError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
