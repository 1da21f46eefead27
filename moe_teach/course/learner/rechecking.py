"""The fresh process that runs a saved notebook's checks and says what came out.

`python -m moe_teach.course.learner.rechecking FILE [ID ...]`: with ids, only those are judged; the
cells in between run in any case. Exit status: 0 all passed, 1 something did not, 2 no notebook.
Tries are counted and answers become the reader's own just as if the cells were run in Jupyter.
"""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from moe_teach.course.learner import saved
from moe_teach.course.learner.feedback import Score
from moe_teach.course.learner.mine import waiting
from moe_teach.course.learner.typed import as_typed

PASSED, FAILED, USAGE = range(3)


def start(file: Path, ids: list[str]) -> "subprocess.Popen[bytes]":
    """Start the process; Ctrl-C reaches whoever started it, and not the answers in it."""
    command = [sys.executable, "-P", "-m", __name__, str(file.absolute()), *ids]
    return subprocess.Popen(command, env=waiting.environment(), start_new_session=True)


def run_checks(file: Path, ids: list[str] | None = None) -> int:
    """Run the cells of a saved notebook, print what each check says, and give the exit status."""
    try:
        cells = saved.read(file)
    except saved.BrokenNotebook as problem:
        print(f"moe-teach: {problem}")
        return USAGE
    shell = _shell()
    _run(shell, "from moe_teach.course import check, hint, mine, progress, reset, solution")
    passed = True
    for cell in cells:
        if not cell.checks:
            _, problem = _run(shell, cell.source)
            if problem and "NotImplementedError" not in problem:
                print(f"Code cell {cell.number} stopped: {problem}")
        elif not ids or set(ids) & set(cell.checks):
            passed &= _judge(shell, cell)
    return PASSED if passed else FAILED


def _judge(shell: Any, cell: saved.SavedCell) -> bool:
    """Run a check's cell and print its answer; say whether it passed."""
    score, problem = _run(shell, cell.source)
    if isinstance(score, Score):
        print(as_typed(score), flush=True)
        return score.state == "passed"
    why = problem or "its cell does not end with the check."
    print(f"{', '.join(cell.checks)}: not judged: {why}", flush=True)
    return False


def _shell() -> Any:
    """Make a namespace that understands what a notebook's cell may hold, and keeps no history."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shell.showtraceback = shell.showsyntaxerror = lambda *_, **__: None  # said in our own words
    return shell


def _run(shell: Any, source: str) -> tuple[Any, str]:
    """Run one cell in silence: give the value that it ends with, and in a line what stopped it."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        done = shell.run_cell(source, store_history=True)
    error = done.error_before_exec or done.error_in_exec
    said = str(error).strip().partition("\n")[0]
    return done.result, f"{type(error).__name__}{': ' if said else ''}{said}" if error else ""


if __name__ == "__main__":
    os.chdir(Path(sys.argv[1]).parent)  # as Jupyter does: a file beside the notebook is found
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(run_checks(Path(sys.argv[1]), sys.argv[2:]))
