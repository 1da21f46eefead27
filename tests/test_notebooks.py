"""The notebooks people open: built from their sources, within the house rules, and running."""

import base64
import io
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import psutil
import pytest
from nbclient import NotebookClient
from PIL import Image

from moe_teach.course.authoring import build as builder
from moe_teach.course.authoring import sources
from moe_teach.course.authoring.seal import broken_seal

ROOT = Path(__file__).parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.py"))
COSTS = ROOT / "build" / "lessons"  # one small file per lesson: seconds and peak memory
MAX_MB = 1_500
MAX_FIGURE = 150_000
MAX_LINES, MAX_MEDIAN, MAX_CODE_CELLS = 30, 8, 70

each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


def cells_of(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def outputs_of(lesson: Path) -> list[dict[str, Any]]:
    return [o for cell in cells_of(lesson.with_suffix(".ipynb")) for o in cell["outputs"]]


@pytest.fixture(scope="module")
def built() -> dict[Path, str]:
    return builder.build(ROOT)


def test_every_notebook_is_what_its_source_builds(built: dict[Path, str]) -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in built.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `make notebooks`"


def test_no_notebook_is_without_a_source(built: dict[Path, str]) -> None:
    assert builder.unwanted(ROOT, built) == []


def test_every_chapter_has_exercises_and_all_exercises_have_a_lesson() -> None:
    practices = {path.stem for path in (ROOT / "solutions").glob("*.py")}
    first_pages = {path.stem for path in LESSONS if path.stem[2] == "_"}
    assert first_pages == practices
    assert {path.stem[:2] for path in LESSONS} == {stem[:2] for stem in practices}


@each_lesson
def test_cells_of_a_lesson_are_small(lesson: Path) -> None:
    code = [cell.source for cell in sources.read(lesson).cells if cell.kind == "code"]
    lengths = [len(source.splitlines()) for source in code]
    assert max(lengths) <= MAX_LINES, f"{lesson.stem} has a cell of {max(lengths)} lines"
    assert statistics.median(lengths) <= MAX_MEDIAN
    assert len(code) <= MAX_CODE_CELLS


@each_lesson
def test_a_lesson_opens_with_its_number_and_its_claim(lesson: Path) -> None:
    first, second = sources.read(lesson).cells[:2]
    assert first.source.startswith(f"# {lesson.stem.partition('_')[0]} ")
    assert first.kind == second.kind == "markdown" or "**" in first.source


@each_lesson
def test_a_lesson_asks_at_least_three_questions_and_a_second_page_at_least_one(
    lesson: Path,
) -> None:
    asked = [item_id for item_id in sources.checked_ids(sources.read(lesson)) if ".q" in item_id]
    assert len(asked) >= (3 if lesson.stem[2] == "_" else 1)


@each_lesson
def test_a_lesson_is_stored_executed_without_errors_or_warnings(lesson: Path) -> None:
    code = cells_of(lesson.with_suffix(".ipynb"))
    assert all(cell["execution_count"] for cell in code), "run `make notebooks`"
    outputs = outputs_of(lesson)
    assert [o for o in outputs if o["output_type"] == "error"] == []
    assert [o["text"] for o in outputs if o.get("name") == "stderr"] == []
    assert not [o for o in outputs if any("widget-view" in kind for kind in o.get("data", {}))]


@each_lesson
def test_all_that_a_lesson_stores_comes_from_one_run_of_this_version(lesson: Path) -> None:
    notebook = json.loads(lesson.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert broken_seal(notebook) == "", f"run `moe-teach author execute {int(lesson.stem[:2])}`"


@each_lesson
def test_figures_are_light_and_have_alternative_text(lesson: Path) -> None:
    pictures = [o for o in outputs_of(lesson) if "image/png" in o.get("data", {})]
    assert pictures, f"{lesson.stem} has no figure"
    for picture in pictures:
        png = picture["data"]["image/png"]
        assert len(base64.b64decode("".join(png))) <= MAX_FIGURE
        assert picture["metadata"]["image/png"]["alt"].strip()


@each_lesson
def test_figures_read_on_light_and_on_dark_pages(lesson: Path) -> None:
    """A sheet of white glares in a dark notebook, and black ink is not to be seen there."""
    for output in outputs_of(lesson):
        png = "".join(output.get("data", {}).get("image/png", ""))
        if not png:
            continue
        red, green, blue, alpha = np.moveaxis(
            np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA")), 2, 0
        ).astype(int)
        is_solid = alpha > 200
        light, dark = np.minimum.reduce([red, green, blue]), np.maximum.reduce([red, green, blue])
        alt = output["metadata"]["image/png"]["alt"]
        assert (is_solid & (light > 245)).mean() < 0.05, f"white ground: {alt}"
        assert (is_solid & (dark < 30)).mean() < 0.02, f"black ink: {alt}"


@each_lesson
def test_no_cell_tells_what_its_figure_will_show(lesson: Path) -> None:
    code = [cell.source for cell in sources.read(lesson).cells if cell.kind == "code"]
    assert [source for source in code if "alt=" in source] == []


@each_lesson
def test_some_cells_of_a_lesson_are_compared_strictly(lesson: Path) -> None:
    tagged = [c for c in sources.read(lesson).cells if c.metadata.get("tags")]
    assert tagged, "tag cells of deterministic text with nbval-check-output"


@pytest.mark.parametrize("shelf", ["exercises", "solutions"])
def test_exercises_and_solutions_are_stored_without_outputs(shelf: str) -> None:
    for path in (ROOT / shelf).glob("*.ipynb"):
        assert not [c for c in cells_of(path) if c["outputs"] or c["execution_count"]]


class MemoryWatch(threading.Thread):
    """Follows the resident memory of everything below one process, in MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak, self._root, self._end = 0.0, psutil.Process(pid), threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.05):
            try:
                below = self._root.children(recursive=True)
                resident = sum(child.memory_info().rss for child in below)
            except psutil.Error:  # a process ended while we looked
                continue
            self.peak = max(self.peak, resident / 2**20)

    def stop(self) -> float:
        self._end.set()
        self.join()
        return self.peak


def run_with_nbval(notebook: Path, scratch: Path) -> tuple[int, str, dict[str, float]]:
    """Run one notebook in fast mode; give nbval's exit status, its report and the cost."""
    own_options = scratch / "pytest.ini"  # without the shape checks and warnings of our own tests
    own_options.write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(own_options), "--nbval-lax"]
    command += ["--nbval-current-env", "--nbval-cell-timeout=300", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = kept | {
        "MOE_TEACH_FAST": "1",
        "MOE_TEACH_HOME": str(scratch / "home"),
        "JUPYTER_PLATFORM_DIRS": "1",
        # Two lessons run at a time. With a thread for each core in both, they wait for each other.
        "OMP_NUM_THREADS": "1",
    }
    begin = time.perf_counter()
    with (scratch / "said.txt").open("w+") as said:
        running = subprocess.Popen(
            [*command, str(notebook)],
            cwd=notebook.parent,
            env=environment,
            stdout=said,
            stderr=said,
        )
        watch = MemoryWatch(running.pid)
        watch.start()
        status = running.wait()
        peak = watch.stop()
        said.seek(0)
        cost = {"seconds": round(time.perf_counter() - begin, 1), "peak_mb": round(peak)}
        return status, said.read(), cost


@pytest.mark.notebook
@each_lesson
def test_a_lesson_runs_in_fast_mode_and_stays_small(lesson: Path, tmp_path: Path) -> None:
    status, report, cost = run_with_nbval(lesson.with_suffix(".ipynb"), tmp_path)
    assert status == 0, report
    COSTS.mkdir(parents=True, exist_ok=True)
    (COSTS / f"{lesson.stem}.json").write_text(json.dumps(cost) + "\n")
    assert cost["peak_mb"] < MAX_MB


def run_in_one_kernel(paths: list[Path], home: Path) -> list[Any]:
    """Run notebooks one after the other, each in an empty namespace, and give all their cells.

    A kernel takes seconds to start and milliseconds to empty.
    """
    together = nbformat.v4.new_notebook()
    for path in paths:
        together.cells.append(nbformat.v4.new_code_cell("%reset -f"))
        together.cells += nbformat.read(path, as_version=4).cells
    client = NotebookClient(
        together, timeout=120, resources={"metadata": {"path": str(ROOT / "exercises")}}
    )
    own = {"MOE_TEACH_HOME": str(home), "MOE_TEACH_FAST": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    own |= {"OMP_NUM_THREADS": "1"}  # another test runs beside this one
    client.execute(env={**os.environ, **own})
    return [cell for cell in together.cells if cell.cell_type == "code"]


def first_words(cells: list[Any]) -> dict[str, str]:
    """Give the first line of what each check answered, by exercise id."""
    return {
        cell.metadata["moe_teach"]["exercise"]: cell.outputs[-1]["data"]["text/plain"].split("\n")[
            0
        ]
        for cell in cells
        if cell.metadata.get("moe_teach", {}).get("role") == "check"
    }


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("shelf", "state"), [("solutions", "passed"), ("exercises", "not attempted")]
)
def test_solutions_pass_and_untouched_exercises_run_to_their_end(
    shelf: str, state: str, tmp_path: Path
) -> None:
    cells = run_in_one_kernel(sorted((ROOT / shelf).glob("*.ipynb")), tmp_path)
    answers = first_words(cells)
    assert answers
    assert {i: said for i, said in answers.items() if f": {state}" not in said} == {}
