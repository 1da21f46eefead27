"""Judges many submissions side by side, each in a process that may end without taking others along.

The order of the results is the order of their ends; what is in them depends on no order.
"""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, runtime_checkable

from moe_teach.course.grading.record import Answers, Graded, Submission
from moe_teach.course.grading.recover import UNKNOWN, recover

PATIENCE = 1200.0  # seconds for one submission: each answer has limits, so this is for faults
_TRIES = 2  # a process that ends may have been ended from outside, for lack of memory
_GOODBYE = 5.0
_FORKS = sys.platform == "linux"
_MOST_FILES = 1 << 16


@runtime_checkable
class Judge(Protocol):
    """Judges the answers of one submission; seeds derive from its content and the exercise."""

    def judge(self, answers: Answers, only: Sequence[str]) -> list[Graded]:
        """Give one `Graded` for each exercise named, or for all of the chapter if none is."""

    def mark(self, exercise: str) -> str:
        """Name what decides beside the exercise's own check, such as probes; empty for nothing."""

    def close(self) -> None:
        """Let go of what was kept between submissions."""


@dataclass(frozen=True)
class Task:
    """One submission to be judged, and which exercises of it; all if none is named."""

    submission: Submission
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What became of one submission; a `fault` is the grader's, and then there is nothing else."""

    submission: Submission
    answers: Answers
    results: tuple[Graded, ...] = ()
    fault: str = ""


@dataclass
class _Hand:
    """A process of the crew and what it is at."""

    process: Any
    pipe: Connection
    task: Task | None = None
    tries: int = 0
    since: float = 0.0


def judge_all(tasks: Sequence[Task], judge: Judge, jobs: int) -> Iterator[Judged]:
    """Recover and judge all submissions, `jobs` at a time; give each when it is done."""
    waiting = deque((task, _TRIES) for task in tasks)
    hands: list[_Hand] = []
    try:
        while waiting or any(hand.task for hand in hands):
            while waiting and len(hands) < jobs:
                hands.append(_hired(judge))
            for hand in hands:
                if hand.task is None and waiting:
                    hand.task, hand.tries = waiting.popleft()
                    hand.since = time.monotonic()
                    with contextlib.suppress(OSError):  # an end is noticed below
                        hand.pipe.send(hand.task)
            for hand in _with_news(hands):
                result = _listen(hand)
                if result is None:
                    hands.remove(hand)
                    if hand.task and hand.tries > 1:
                        waiting.appendleft((hand.task, hand.tries - 1))
                        continue
                    result = _fault(hand)
                hand.task = None
                yield result
    finally:
        _dismiss(hands)


def _hired(judge: Judge) -> _Hand:
    # A fork starts at once and needs no judge that can be imported; elsewhere there is none.
    context = multiprocessing.get_context("fork" if _FORKS else "spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, judge))
    process.start()
    there.close()
    return _Hand(process, here)


def _work(pipe: Connection, judge: Judge) -> None:
    """Judge what comes through the pipe until its other end is closed, or its owner dies."""
    import torch

    torch.set_num_threads(1)  # a fork that asks for the threads of its origin waits for ever
    if _FORKS:
        # What else a fork inherits would outlive a grader that is killed: the lock of its journal,
        # and the ends of its pipes, by which the others know that it is gone.
        os.closerange(3, pipe.fileno())
        os.closerange(pipe.fileno() + 1, _MOST_FILES)
    # The course's own answers print, too, when they stand in for one; the terminal is the grader's.
    sys.stdout = sys.stderr = io.StringIO()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the grader, which then says stop
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and the judge is closed
    with contextlib.closing(judge), contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(_judged(pipe.recv(), judge))


def _judged(task: Task, judge: Judge) -> Judged:
    submission = task.submission
    try:
        answers = recover(submission)
    except Exception as problem:  # a fault of ours must not cost anybody a point
        return _unread(submission, f"The grader failed to read it: {_words(problem)}")
    if answers.problem:
        return Judged(submission, answers)
    try:
        return Judged(submission, answers, tuple(judge.judge(answers, task.only)))
    except Exception as problem:
        return Judged(submission, answers, fault=f"The grader failed: {_words(problem)}")


def _words(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"[:500]


def _unread(submission: Submission, fault: str) -> Judged:
    nothing = Answers(submission=replace(submission, content=b""), chapter=UNKNOWN)
    return Judged(submission, nothing, fault=fault)


def _with_news(hands: Sequence[_Hand]) -> list[_Hand]:
    """Wait for messages and ends; end whoever has been at one submission for far too long."""
    ready = wait([hand.pipe for hand in hands if hand.task], timeout=1.0)
    for hand in hands:
        if hand.task and time.monotonic() - hand.since > PATIENCE:
            hand.tries = 1  # a second time would take as long
            hand.process.kill()
    return [hand for hand in hands if hand.pipe in ready]


def _listen(hand: _Hand) -> Judged | None:
    try:
        return hand.pipe.recv()
    except (EOFError, OSError):
        return None


def _fault(hand: _Hand) -> Judged:
    assert hand.task is not None
    hand.process.join(_GOODBYE)
    said = f"The grader's process ended at it (status {hand.process.exitcode})."
    if time.monotonic() - hand.since > PATIENCE:
        said = f"The grader was not done with it after {PATIENCE:g} seconds."
    return _unread(hand.task.submission, said)


def _dismiss(hands: Sequence[_Hand]) -> None:
    for hand in hands:
        hand.pipe.close()
        if hand.task:  # nobody waits for what it is at
            hand.process.terminate()
    for hand in hands:
        hand.process.join(_GOODBYE)
        if hand.process.is_alive():
            hand.process.kill()
            hand.process.join()
