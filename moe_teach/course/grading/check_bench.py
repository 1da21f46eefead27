"""`moe-teach bench checks`: the seconds of CPU that one check takes, and which stage takes them.

The course's own solution is checked, in this process, after start-up: torch, the chapter and what
an optimiser loads at its first step are there. The first check of an exercise fills what later ones
find ready (inputs, expected values of the usual seeds); both are told.
"""

import argparse
import contextlib
import functools
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.judging.engine import GOAL, run_exercise
from moe_teach.judging.exercise import Exercise, Stage
from moe_teach.ops.triton_mode import choose_mode
from moe_teach.text_table import aligned, in_markdown

BUDGET = 0.2  # seconds of CPU
HEADER = ("exercise", "name", "state", "first s", "next s", f"x {BUDGET:g} s", "most of it")
_ROUNDS = 2  # checks after the first, of which the best counts
_BLOCKS = 20  # runs of the yardstick, of which the best counts


@dataclass(frozen=True)
class Row:
    """What the checks of one exercise took, in seconds of CPU."""

    exercise: Exercise
    state: str
    first: float
    following: float
    by_stage: dict[str, float]

    @property
    def ratio(self) -> float:
        """A check after the first, against the budget."""
        return self.following / BUDGET

    def cells(self) -> tuple[str, ...]:
        """Give the cells of its line."""
        name, seconds = max(self.by_stage.items(), key=lambda item: item[1], default=("-", 0.0))
        about = (self.exercise.id, self.exercise.name, self.state)
        took = (f"{self.first:.2f}", f"{self.following:.3f}", f"{self.ratio:.2f}")
        return (*about, *took, f"{name} {seconds:.3f}")


def main(words: Sequence[str]) -> int:
    """Measure every check that is asked for and print one table, the slowest first."""
    import torch

    options = _parser().parse_args(words)
    torch.set_num_threads(1)  # the seconds of several threads would be added up
    choose_mode()
    before = yardstick()
    warm_up()
    rows = []
    for exercise in _chosen(options.ids):
        rows.append(measured(exercise))
        print(" ".join(rows[-1].cells()), file=sys.stderr, flush=True)
    rows.sort(key=lambda row: -row.following)
    print((in_markdown if options.markdown else aligned)(HEADER, [row.cells() for row in rows]))
    slow = [row.exercise.id for row in rows if row.ratio > 1]
    first = sum(row.first > BUDGET for row in rows)
    print(
        f"{len(rows) - len(slow)} of {len(rows)} checks within {BUDGET:g} s of CPU; "
        f"{len(rows) - first} when they are the first. "
        f"A matrix product of 256 took {1e3 * before:.2f} ms before, {1e3 * yardstick():.2f} after."
    )
    return 0 if all(row.state == "passed" or row.exercise.goal for row in rows) else 1


def measured(exercise: Exercise) -> Row:
    """Check the course's solution of one exercise again and again."""
    with contextlib.redirect_stdout(io.StringIO()):  # cells of a notebook print
        answer = materials.reference(exercise)
    first, _, _ = _once(exercise, answer)
    rounds = [_once(exercise, answer) for _ in range(_ROUNDS)]
    best, state, by_stage = min(rounds, key=lambda one: one[0])
    return Row(exercise, state, first, best, by_stage)


def yardstick() -> float:
    """Give the best seconds of a piece of work that is always the same: how busy is the machine?"""
    import torch

    one = torch.ones(256, 256)
    times = []
    for _ in range(_BLOCKS):
        begin = time.process_time()
        one @ one
        times.append(time.process_time() - begin)
    return min(times)


def warm_up() -> None:
    """Load what the first training step of a process loads."""
    import torch

    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()


def _once(exercise: Exercise, answer: Any) -> tuple[float, str, dict[str, float]]:
    """Run one check; give its seconds, its state and the seconds of each stage over all seeds."""
    spent: dict[str, float] = {}
    stages = [Stage(one.name, _clocked(one.run, one.name, spent)) for one in exercise.stages]
    goal = replace(exercise.goal) if exercise.goal else None
    if goal is not None and exercise.goal is not None and exercise.goal.measuring is not None:
        goal.measuring = _clocked(exercise.goal.measuring, GOAL, spent)
    begin = time.process_time()
    outcome = run_exercise(
        replace(exercise, stages=stages, goal=goal), answer, reference=materials.reference
    )
    return time.process_time() - begin, outcome.state, spent


def _clocked(run: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(run)
    def clocked(answer: Any, seed: Any) -> Any:
        begin = time.process_time()
        try:
            return run(answer, seed)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - begin

    return clocked


def _chosen(ids: Sequence[str]) -> Iterator[Exercise]:
    chapters = {int(word) for word in ids if word.isdigit()}
    for item in registry.every_item():
        if isinstance(item, Exercise) and (not ids or item.id in ids or item.chapter in chapters):
            yield item


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moe-teach bench checks", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="exercises or chapters (default all)")
    parser.add_argument("--markdown", action="store_true", help="print a table for a page")
    return parser
