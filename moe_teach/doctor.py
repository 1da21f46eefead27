"""`moe-teach doctor`: what works on this machine, and what to do about what does not."""

import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from moe_teach.files import clone
from moe_teach.surroundings import version_of
from moe_teach.text_table import counted

Verdict = Literal["ok", "limited", "broken"]
MARKS: dict[Verdict, str] = {"ok": "ok      ", "limited": "limited ", "broken": "BROKEN  "}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
GIB = 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: the verdict, what was found and what to do about it."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        lines = [f"{MARKS[self.verdict]}{self.subject}: {self.found}"]
        if self.remedy:
            lines.append(f"{'':8}  what to do: {self.remedy}")
        return "\n".join(lines)


def install_again(extras: str = "lab,kernels") -> str:
    """What to type to have the course and all it needs installed, where this runs."""
    return "run `make setup` again" if clone() else f"run `pip install 'moe-teach[{extras}]'`"


def check_python() -> Finding:
    """Is this a Python that the course supports (3.11 to 3.13)?"""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", found)
    then = "remove the folder .venv and run `make lab` again" if clone() else install_again()
    remedy = f"install Python 3.11, 3.12 or 3.13 and {then}."
    return Finding("Python", "broken", found, remedy)


def check_torch() -> Finding:
    """Does torch import, and how many threads and which device would it use?"""
    try:
        import torch
    except (ImportError, OSError) as error:
        remedy = f"{install_again()}; if it fails the same way, begin with a new environment."
        return Finding("torch", "broken", f"it does not import ({error}).", remedy)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    found = (
        f"{torch.__version__}, {counted(torch.get_num_threads(), 'thread')}, computing on {device}"
    )
    if not hasattr(torch.nn.functional, "grouped_mm"):
        remedy = "nothing is lost: a loop takes its place. torch 2.12 or newer is faster."
        return Finding("torch", "limited", f"{found}; no public grouped matmul", remedy)
    return Finding("torch", "ok", found)


def check_memory() -> Finding:
    """Is there room for a lesson (1.5 GB at most)?"""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return Finding("memory", "ok", "this system does not tell how much is free.")
    found = f"{free / GIB:.1f} GiB free; a lesson needs 1.5 GB at most"
    if free > 1.5e9:
        return Finding("memory", "ok", found)
    return Finding("memory", "limited", found, "close other notebooks (Kernel > Shut Down All).")


def check_packages(subject: str, names: tuple[str, ...], remedy: str, missing: Verdict) -> Finding:
    """Report the versions of `names`, or which of them are missing and what that costs."""
    versions, absent = [], []
    for name in names:
        if found := version_of(name, missing=""):
            versions.append(f"{name} {found}")
        else:
            absent.append(name)
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        return Finding(subject, missing, f"{', '.join(absent)} {verb} not installed.", remedy)
    return Finding(subject, "ok", ", ".join(versions))


def check_widgets() -> Finding:
    """Can the interactive widgets work?"""
    remedy = f"{install_again()}; figures and exercises work without them."
    return check_packages("widgets", ("ipywidgets", "anywidget"), remedy, "limited")


def check_lab() -> Finding:
    """Is JupyterLab there?"""
    remedy = f"{install_again()}, or open the notebooks in the editor you like."
    return check_packages("JupyterLab", ("jupyterlab", "ipykernel"), remedy, "limited")


def check_triton() -> Finding:
    """Is Triton there (chapters 09 and 10 only), and would it compile or interpret?"""
    if importlib.util.find_spec("triton") is None:
        remedy = "nothing, but for chapters 09 and 10: "
        if sys.platform == "linux":
            remedy += f"{install_again()}."
        else:
            remedy += "Triton has packages for Linux only, so open them on Colab."
        return Finding("triton", "limited", "not installed.", remedy)
    from moe_teach.ops.triton_mode import choose_mode

    return Finding("triton", "ok", f"{version_of('triton')}, kernels are {choose_mode()} here")


def check_deploy() -> Finding:
    """Is there what chapter 08 compares with, and what exports and serves models?"""
    remedy = (
        f"nothing, but for chapter 08, GGUF files and `moe-teach serve`: {install_again('deploy')}."
    )
    names = ("transformers", "gguf", "fastapi", "uvicorn", "prometheus-client")
    return check_packages("released models", names, remedy, "limited")


def check_browser() -> Finding:
    """Is there a Chromium for the tests of the widgets, where there are tests?"""
    if not clone():
        return Finding(
            "browser tests", "ok", "they come with the repository, not with the package."
        )
    named = os.environ.get("MOE_TEACH_CHROMIUM")
    path = named or next((p for p in map(shutil.which, BROWSERS) if p), None)
    if path and shutil.which(path):
        return Finding("browser tests", "ok", path)
    remedy = "install Chromium or set MOE_TEACH_CHROMIUM; only `make test` needs it."
    return Finding("browser tests", "limited", "no Chromium was found.", remedy)


def check_progress() -> Finding:
    """Can your progress be written?"""
    from moe_teach.course.learner import progress_file

    try:
        path = progress_file.path()
    except OSError as problem:
        remedy = "set MOE_TEACH_HOME to a folder you may write to."
        return Finding("your progress", "broken", str(problem), remedy)
    folder = next(parent for parent in path.parents if parent.exists())
    if os.access(folder, os.W_OK) and (not path.exists() or os.access(path, os.W_OK)):
        return Finding("your progress", "ok", f"kept in {path}")
    remedy = "set MOE_TEACH_HOME to a folder you may write to."
    return Finding("your progress", "broken", f"{path} cannot be written.", remedy)


def check_grading() -> Finding:
    """How well is other people's code kept apart when this machine grades it?"""
    from moe_teach.course.grading.worker import confine

    found = f"tier {confine.tier()}: {confine.in_words()}"
    if confine.tier() == 2:
        return Finding("grading", "ok", found)
    remedy = "grade only what people wrote whom you trust, or grade on Linux 5.13 or later."
    return Finding("grading", "limited", found, remedy)


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    check_torch,
    check_memory,
    check_widgets,
    check_lab,
    check_triton,
    check_deploy,
    check_browser,
    check_progress,
    check_grading,
)


def main() -> int:
    """Print every finding; return 1 if something is broken, else 0."""
    findings = [check() for check in CHECKS]
    print(*findings, sep="\n")
    broken = [finding.subject for finding in findings if finding.verdict == "broken"]
    if broken:
        print(f"\nNot ready yet: {', '.join(broken)}. The lines above say what to do.")
        return 1
    print(f"\nReady. {first_step()}")
    return 0


def first_step() -> str:
    """What to type to see the first lesson."""
    if clone():
        return "Type `make lab`: it lays out your copies of the notebooks and opens the first."
    from moe_teach.course.learner.desk import place

    own = place()
    if own is None:
        return "Type `moe-teach start FOLDER`: it lays out the notebooks in a folder of yours."
    return opening(own / "notebooks" / "00_start_here.ipynb")


def opening(notebook: Path) -> str:
    """How to open a notebook, with what is installed here."""
    if check_lab().verdict == "ok":
        # A notebook alone would make its folder the root, and lead no lesson to its exercises.
        root = shlex.quote(f"--ServerApp.root_dir={notebook.parents[1]}")
        return f"To open the first lesson, type: jupyter lab {root} {shlex.quote(str(notebook))}"
    return (
        f"Open {notebook} in the editor you like, with this Python as its kernel "
        f"({sys.executable}). For JupyterLab, {install_again()}."
    )
