"""`moe-teach bench grade`: how long a class takes, beside the same checks without any walls.

The class is made of a chapter's own material: solutions, starters, and the named wrong answers that
stand on their own feet. Both ways must come to the same verdicts.
"""

import argparse
import ast
import contextlib
import inspect
import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.grading.asked import asked_in
from moe_teach.course.grading.batch import grade
from moe_teach.course.grading.book import Book, book_of
from moe_teach.course.grading.collect import collect
from moe_teach.course.grading.engine_judge import EngineJudge
from moe_teach.course.grading.journal import Journal
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise
from moe_teach.text_table import aligned, in_markdown

HEADER = (
    "chapter",
    "submissions",
    "exercises",
    "processes",
    "s",
    "s each",
    "in-process s",
    "ratio",
)
_ROUNDS = 3  # of every answer in this process, of which the best counts


@dataclass(frozen=True)
class Written:
    """One answer to an exercise as the text of a cell; none for an untouched starter."""

    exercise: str
    source: str


def main(words: Sequence[str]) -> int:
    """Grade a made class, check it in this process too, and print one line about both."""
    options = _parser().parse_args(words)
    with contextlib.redirect_stdout(io.StringIO()):  # cells of notebooks print
        answers = list(every_answer(options.chapter))
        here = {answer: checked_here(answer) for answer in answers}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(options.keep or folder)
        members = write_class(root / "class", options.chapter, options.students, answers)
        journal, begin = Journal(root / "gradebook"), time.perf_counter()
        told = grade(collect([root / "class"]), journal, EngineJudge(), jobs=options.jobs)
        seconds = time.perf_counter() - begin
        book = book_of(journal.entries())
    alone = sum(here[answer][1] for answers_of in members.values() for answer in answers_of)
    n_judged = sum(map(len, members.values()))
    row = (
        f"{options.chapter:02d}",
        str(options.students),
        str(n_judged),
        str(options.jobs),
        f"{seconds:.1f}",
        f"{seconds / options.students:.2f}",
        f"{alone:.1f}",
        f"{seconds / alone:.2f}",
    )
    print((in_markdown if options.markdown else aligned)(HEADER, [row]))
    differing = list(disagreements(members, here, book))
    for line in (*told.faults, *differing):
        print(line, file=sys.stderr)
    print(f"{len(differing)} of {n_judged} verdicts differ between the two ways.")
    return 1 if differing or told.faults else 0


def every_answer(chapter: int) -> Iterator[Written]:
    """Give every exercise's starter, its solution, and wrong answers that can stand alone."""
    for item in registry.load(chapter).values():
        if not isinstance(item, Exercise):
            continue
        solution = materials.without_markers(materials.solution_cell(item))
        yield Written(item.id, "")
        yield Written(item.id, solution)
        for named in registry.answers_for(item):
            source = "" if named.is_right else source_of(named.answer, item)
            if source:
                yield Written(item.id, source)


def source_of(answer: Any, exercise: Exercise) -> str:
    """Write a named answer as a cell; nothing where it leans on more of its module than imports."""
    module = inspect.getmodule(answer)
    try:
        tree = ast.parse(inspect.getsource(module)) if module else ast.Module([], [])
    except (OSError, TypeError):
        return ""
    name = getattr(answer, "__name__", "")
    kinds = (ast.FunctionDef, ast.ClassDef)
    node = next((n for n in tree.body if isinstance(n, kinds) and n.name == name), None)
    if node is None:
        return ""
    node.decorator_list, node.name = [], exercise.name
    lines = [ast.unparse(n) for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    lines = [line for line in lines if "moe_teach.chapters" not in line]
    source = "\n".join([*lines, "", "", ast.unparse(node)])
    state = checked_here(Written(exercise.id, source), rounds=1)[0]
    return source if state == "wrong" else ""


def checked_here(answer: Written, rounds: int = _ROUNDS) -> tuple[str, float]:
    """Check an answer in this process; give the state and the seconds, none for a starter."""
    if not answer.source:
        return "not attempted", 0.0
    exercise = registry.find_exercise(answer.exercise)
    cells = [
        (role, item_id, answer.source if item_id == exercise.id and role == "solution" else source)
        for role, item_id, source in materials.cells_of(exercise.chapter)
    ]
    try:
        made = materials.build_namespace(cells)[exercise.name]
    except Exception as problem:
        return type(problem).__name__, 0.0
    best, state = float("inf"), ""
    for _ in range(rounds):
        begin = time.perf_counter()
        state = run_exercise(exercise, made, reference=materials.reference).state
        best = min(best, time.perf_counter() - begin)
    return state, best


def write_class(
    folder: Path, chapter: int, students: int, answers: Sequence[Written]
) -> dict[str, list[Written]]:
    """Write everybody's notebook, and give who answered what: half right, the rest as it falls."""
    draw = random.Random(chapter)
    members = {}
    for number in range(students):
        name, chosen = f"student {number:03d}", []
        for exercise in asked_in(chapter):
            choices = [answer for answer in answers if answer.exercise == exercise]
            chosen.append(choices[1] if draw.random() < 0.5 else draw.choice(choices))
        members[name] = chosen
        file = folder / name / f"{registry.chapters()[chapter]}.ipynb"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(_notebook(chapter, chosen, name)), encoding="utf-8")
    return members


def disagreements(
    members: dict[str, list[Written]], here: dict[Written, tuple[str, float]], book: Book
) -> Iterator[str]:
    """Name the exercises that one way passed and the other did not."""
    for name, chosen in members.items():
        for answer in chosen:
            result = book.people[name].grades[answer.exercise].result
            if (result["status"] == "passed") != (here[answer][0] == "passed"):
                yield f"{name}, {answer.exercise}: {result['status']}, here {here[answer][0]}"


def _notebook(chapter: int, chosen: Sequence[Written], name: str) -> dict[str, Any]:
    sources = {answer.exercise: answer.source for answer in chosen}
    cells = [{"cell_type": "markdown", "metadata": {}, "source": f"By {name}."}]
    for role, item_id, source in materials.cells_of(chapter):
        text = source
        if role == "solution":
            text = sources[item_id] or materials.starter_of(source)
        metadata = {"moe_teach": {"role": role, "exercise": item_id}} if item_id else {}
        if role not in ("code", "solution", "check"):
            metadata = {"moe_teach": {"role": role}}
        cells.append({"cell_type": "code", "metadata": metadata, "outputs": [], "source": text})
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moe-teach bench grade", description=__doc__)
    parser.add_argument("--chapter", type=int, default=3, help="whose exercises (default 3)")
    parser.add_argument("--students", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--jobs", type=int, default=2, help="submissions at a time (default 2)")
    parser.add_argument("--keep", metavar="FOLDER", help="leave the class and its gradebook here")
    parser.add_argument("--markdown", action="store_true", help="print a table for a page")
    return parser
