"""Judges mutants in child processes, so that one which takes Python down is only rejected."""

import multiprocessing
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from moe_teach.course.authoring.mutation.mutants import Mutant
from moe_teach.course.authoring.mutation.trial import Trial, Verdict
from moe_teach.course.authoring.sources import Source
from moe_teach.judging.exercise import Exercise

SILENCE = 120.0  # seconds without a verdict after which a child is given up
_MEMORY = 6 << 30  # bytes that a child may fill; a mutant may ask for any amount


@dataclass
class Work:
    """The mutants of one exercise and what became of those judged so far, in the same order."""

    exercise: Exercise
    source: Source
    mutants: list[Mutant]
    verdicts: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0
    problem: str = ""

    def is_done(self) -> bool:
        """Say whether nothing is left to judge."""
        return bool(self.problem) or len(self.verdicts) == len(self.mutants)


@dataclass
class _Shift:
    """A child at work."""

    work: Work
    process: Any
    heard: float
    begun: float


def judge(works: Sequence[Work], jobs: int) -> Iterator[Work]:
    """Judge all mutants, `jobs` exercises at a time; give each work when it is done."""
    waiting = deque(works)
    shifts: dict[Any, _Shift] = {}
    while waiting or shifts:
        while waiting and len(shifts) < jobs:
            work = waiting.popleft()
            if work.is_done():
                yield work
            else:
                _begin(work, shifts)
        for pipe in wait(list(shifts), timeout=1.0):
            if not _listen(pipe, shifts[pipe]):
                _end(shift := shifts.pop(pipe))
                waiting.appendleft(shift.work)
        for shift in shifts.values():
            if time.monotonic() - shift.heard > SILENCE:
                shift.process.kill()


def judge_here(works: Sequence[Work]) -> Iterator[Work]:
    """Judge all mutants in this process, where nothing stands between them and us."""
    for work in works:
        if work.mutants:
            trial = Trial(work.exercise, work.source)
            work.verdicts = [trial.judge(mutant) for mutant in work.mutants]
        yield work


def _begin(work: Work, shifts: dict[Any, _Shift]) -> None:
    # A fork starts at once and knows the same exercises; a tool for authors may ask for POSIX.
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_judge_rest, args=(work, there), daemon=True)
    process.start()
    there.close()
    now = time.monotonic()
    shifts[here] = _Shift(work, process, now, now)


def _judge_rest(work: Work, pipe: Connection) -> None:
    """Judge what is left of a work, in the child."""
    import resource

    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    try:
        trial = Trial(work.exercise, work.source)
    except Exception as problem:
        pipe.send(f"{type(problem).__name__}: {problem}")
        return
    for mutant in work.mutants[len(work.verdicts) :]:
        pipe.send(trial.judge(mutant))


def _listen(pipe: Any, shift: _Shift) -> bool:
    """Take one message; none comes from a child that has ended."""
    try:
        said = pipe.recv()
    except EOFError:
        return False
    shift.heard = time.monotonic()
    if isinstance(said, str):
        shift.work.problem = said
    else:
        shift.work.verdicts.append(said)
    return True


def _end(shift: _Shift) -> None:
    """Account for a child that has ended; one that ended early was taken down by a mutant."""
    shift.process.join()
    shift.work.seconds += time.monotonic() - shift.begun
    if not shift.work.is_done():
        said = f"it ended Python (exit status {shift.process.exitcode})"
        shift.work.verdicts.append(Verdict("crashed", said))
