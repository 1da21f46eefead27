"""Answers are judged apart: hostile ones cost their own exercise, and verdicts stay the same."""

import importlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from moe_teach.course import materials, registry
from moe_teach.course.grading.ends import Ended
from moe_teach.course.grading.host import Host
from moe_teach.course.grading.judge import judge, outcome_of, replayed, seeds_of
from moe_teach.course.grading.record import AnswerCell, Answers, Graded, Limits, Submission
from moe_teach.course.grading.remote import Line
from moe_teach.course.grading.worker import confine
from moe_teach.judging.engine import SEEDS, run_exercise
from moe_teach.judging.exercise import Exercise, NamedAnswer

HOSTILE = sorted((Path(__file__).parent / "hostile").glob("*.txt"))
ASKED = ("0.1", "0.2", "0.3")
pytestmark = pytest.mark.skipif(not confine.IS_LINUX, reason="signals and walls of Linux")


def submitted(chapter: int, cells: list[tuple[str, str]], **told: Any) -> Answers:
    submission = Submission(student="s", name="moe.ipynb", content=b"", sha256="5ab")
    found = tuple(AnswerCell(source=source, exercise=item) for item, source in cells)
    return Answers(submission=submission, chapter=chapter, cells=found, **told)


def right_cells(chapter: int) -> list[tuple[str, str]]:
    return [
        (item, materials.without_markers(source))
        for role, item, source in materials.cells_of(chapter)
        if role in ("code", "solution")
    ]


def with_answer(item: str, source: str) -> Answers:
    chapter = int(item.partition(".")[0])
    cells = [(own, source if own == item else text) for own, text in right_cells(chapter)]
    return submitted(chapter, cells)


def judged(answers: Answers, host: Host, **told: Any) -> dict[str, Graded]:
    about = {"seed": 7, "seconds": 3, "memory_mb": 400, "only": ASKED, "host": host}
    return {one.exercise: one for one in judge(answers, **{**about, **told})}


def golden(text: str) -> dict[str, str]:
    heads = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    return dict(line.split(":", 1) for line in heads)


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_a_hostile_answer_costs_its_own_exercise_and_no_other(path: Path, host: Host) -> None:
    text = path.read_text()
    told = golden(text)
    if confine.tier() < int(told.get("tier", "1")):
        pytest.skip("this machine has no walls")

    item = told.get("answers", "0.2").strip()
    others = {one for one in (*ASKED, "3.1", "3.5") if one[0] == item[0]} - {item}

    found = judged(with_answer(item, text), host, only=(item, *others))

    bad = found[item]
    assert bad.status in told["status"].split(), bad
    assert told["says"].strip() in f"{bad.message} {bad.detail}", bad
    assert bad.points == (bad.max_points if bad.status == "passed" else 0)
    assert {found[one].status for one in others} == {"passed"}
    assert len(repr(bad)) < 10_000


def test_nothing_that_an_answer_started_outlives_it(host: Host) -> None:
    text = (Path(__file__).parent / "hostile" / "13_leaves_processes.txt").read_text()

    judged(with_answer("0.2", text), host, only=("0.2",))

    time.sleep(0.5)
    names = {path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm") if safe(path)}
    assert "moe_orphan" not in names


def safe(path: Path) -> bool:
    try:
        path.read_text()
    except OSError:
        return False
    return True


def test_a_flood_of_prints_is_cut_and_flagged(host: Host) -> None:
    text = (Path(__file__).parent / "hostile" / "06_flood_of_prints.txt").read_text()

    assert "printed a lot" in judged(with_answer("0.2", text), host)["0.2"].flags


def test_an_answer_that_builds_on_a_broken_one_is_given_the_courses_part(host: Host) -> None:
    cells = [(item, f"{text}\n1 / 0" if item == "0.1" else text) for item, text in right_cells(0)]
    cells = [(i, f"route_by_rule\n{text}" if i == "0.3" else text) for i, text in cells]

    found = judged(submitted(0, cells), host)

    assert found["0.1"].status == "load_error"
    assert "ZeroDivisionError" in found["0.1"].message
    assert found["0.3"].status == "passed"
    assert found["0.3"].flags == ("given earlier parts: 0.1",)


def test_what_is_missing_untouched_or_unreadable_is_told_apart(host: Host) -> None:
    some = submitted(0, right_cells(0)[:2], missing=("0.3",), untouched=("0.1",))

    found = judged(some, host)
    none = judged(submitted(0, [], problem="It is no notebook."), host)

    assert [found[item].status for item in ("0.1", "0.3")] == ["not_attempted", "missing"]
    assert {one.status for one in none.values()} == {"ungraded"}
    assert {one.points for one in none.values()} == {None}


def test_seeds_are_fresh_for_everybody_and_can_be_replayed() -> None:
    drawn, seeds = seeds_of(7, "5ab", "3.1")

    assert seeds == replayed(drawn)
    assert seeds_of(7, "5ab", "3.1") == (drawn, seeds)
    assert len({seeds_of(7, other, "3.1")[1] for other in ("5ab", "5ac", "5ad")}) == 3
    assert sorted(seed % 3 for seed in seeds) == [0, 1, 2]
    assert seeds[0] == 0 and max(seeds) < 1_000_000


# One exercise for each thing that crosses the line: plain values, lists that an answer changes,
# tensors, gradients (from before, too), generators, functions both ways, modules, kernels and
# thousands of questions to a policy. With MOE_TEACH_WHOLE=1 it is every exercise and every named
# answer: a quarter of an hour.
WHOLE = os.environ.get("MOE_TEACH_WHOLE") == "1"
EVERY = [one.id for one in registry.every_item() if isinstance(one, Exercise)]
SAMPLE = (
    EVERY
    if WHOLE
    else (
        *("1.7", "2.1", "2.2", "3.2", "3.4", "3.7", "5.1", "6.7", "9.1", "12.5"),
        *("13.5", "13.6", "14.2"),
    )
)


def named(exercise: Exercise) -> list[tuple[NamedAnswer, str]]:
    home = f"{exercise.module}_answers"
    answers = registry.answers_for(exercise)
    known = {id(value): name for name, value in vars(importlib.import_module(home)).items()}
    start = "from moe_teach.ops.triton_mode import choose_mode\nchoose_mode()\n"
    return [
        (one, f"{start}from {home} import {known[id(one.answer)]} as {exercise.name}")
        for one in answers
        if id(one.answer) in known  # some are made by a function, and have no name to import
    ]


def verdict_there(host: Host, exercise: Exercise, source: str) -> tuple[str, ...]:
    worker = host.start(Limits(seconds=60), 600, walls=False)
    try:
        line = Line(worker, exercise, lambda item: (_ for _ in ()).throw(LookupError(item)))
        worker.wait_at_most(60)
        loaded = line.ask("load", source, "cell")
        assert loaded is None, loaded
        outcome = outcome_of(line, exercise, SEEDS, materials.reference)
    except Ended as ended:
        return ended.status, "", ended.message
    finally:
        worker.end()
    return outcome.state, outcome.stage, outcome.message


@pytest.mark.parametrize("item", SAMPLE)
def test_a_verdict_is_the_same_apart_as_in_one_process(item: str, host: Host) -> None:
    exercise = registry.find_exercise(item)
    answers = named(exercise)
    wrong = [one for one in answers if not one[0].is_right][: None if WHOLE else 2]
    right = [one for one in answers if one[0].is_right][: None if WHOLE else 1]
    for one, source in (*wrong, *right):
        here = run_exercise(exercise, one.answer, reference=materials.reference)
        if "TypeCheckError" in here.message:
            continue  # these tests check shapes of the library's records, and no worker does

        there = verdict_there(host, exercise, source)

        assert there == (here.state, here.stage, here.message), source
