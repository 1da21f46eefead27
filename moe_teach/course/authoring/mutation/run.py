"""Tries all mutants of some exercises, or a fixed share of them, and tells what the checks miss."""

import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from moe_teach.course.authoring import verify
from moe_teach.course.authoring.mutation import equal, report
from moe_teach.course.authoring.mutation.crew import Work, judge, judge_here
from moe_teach.course.authoring.mutation.mutants import mutants_of
from moe_teach.course.authoring.sources import Source
from moe_teach.judging.exercise import Exercise


@dataclass(frozen=True)
class Finding:
    """What came of one exercise: its row of the table, and every complaint."""

    row: tuple[str, ...]
    complaints: tuple[str, ...]


def mutate(
    root: Path, exercises: Iterable[Exercise], *, jobs: int = 2, one_in: int = 1
) -> Iterator[Finding]:
    """Try the mutants of each exercise, and give each finding when it is done.

    `jobs` exercises are tried at a time in child processes; with none, or where the system cannot
    fork, all are tried here. Of a share (`one_in` above 1) the listed mutants are left out:
    the whole run says if they still hold.
    """
    known: dict[str, list[str]] = {}
    works = []
    source_of = cache(lambda chapter: verify.solution_source(root, chapter))
    listed_in = cache(lambda chapter: equal.read(equal.path_of(root, chapter)))
    for exercise in exercises:
        work = work_on(exercise, source_of(exercise.chapter))
        known[exercise.id] = [mutant.key for mutant in work.mutants]
        if one_in > 1:
            done = listed_in(exercise.chapter).get(exercise.id, {})
            share = [mutant for mutant in work.mutants if mutant.is_in_share(one_in)]
            work.mutants = [mutant for mutant in share if mutant.key not in done]
        works.append(work)
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    for work in judge(works, jobs) if jobs and can_fork else judge_here(works):
        listed = listed_in(work.exercise.chapter).get(work.exercise.id, {})
        complaints = [
            *([f"{work.exercise.id}: {work.problem}"] if work.problem else []),
            *report.survivors(work, listed),
            *report.stale(work, listed, known[work.exercise.id]),
        ]
        yield Finding(report.row(work, listed), tuple(complaints))


def work_on(exercise: Exercise, source: Source) -> Work:
    """Make the mutants of an exercise's solution cell."""
    cells = [c for c in source.cells if c.role == "solution" and c.item_id == exercise.id]
    if not cells:
        raise LookupError(f"{source.path.name} has no solution cell for exercise {exercise.id}.")
    return Work(exercise, source, mutants_of(exercise.id, cells[0].source))
