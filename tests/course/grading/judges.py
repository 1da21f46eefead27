"""A cheap judge: it reads the points from the answers, and does to the grader what it is told."""

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moe_teach.course import registry
from moe_teach.course.grading.record import Answers, Graded, Status, Submission
from moe_teach.judging.exercise import Exercise
from tests.course.grading.hand_ins import cell_of, handed_out, submission


class CheapJudge:
    """Passes an answer that says RIGHT; as slow, and as mortal, as answers ask for."""

    def __init__(self, mended: Sequence[str] = (), log: Path | None = None) -> None:
        self.mended, self.log = mended, log

    def mark(self, exercise: str) -> str:
        """Decide by nothing but the answer."""
        return ""

    def judge(self, answers: Answers, only: Sequence[str]) -> list[Graded]:
        """Judge by looking."""
        sources = {cell.exercise: cell.source for cell in answers.cells if cell.exercise}
        items = registry.load(answers.chapter).values()
        exercises = [i for i in items if isinstance(i, Exercise) and (not only or i.id in only)]
        text = "".join(sources.values())
        if "SLOW" in text:
            time.sleep(0.05)
        if "STUCK" in text:
            time.sleep(60)
        if "DEADLY" in text:
            os._exit(9)
        if "FAULTY" in text:
            raise RuntimeError("a fault of ours")
        return [self._graded(exercise, answers, sources) for exercise in exercises]

    def close(self) -> None:
        """Say that it was closed."""
        if self.log:
            self.log.touch()

    def _graded(self, exercise: Exercise, answers: Answers, sources: dict[str, str]) -> Graded:
        source = sources.get(exercise.id, "")
        is_right = "RIGHT" in source or exercise.id in self.mended
        status: Status = "passed" if is_right else "failed"
        if not is_right and exercise.id in answers.untouched:
            status = "not_attempted"
        elif not is_right and exercise.id in answers.missing:
            status = "missing"
        drawn = hashlib.sha256((answers.submission.sha256 + exercise.id).encode()).digest()
        return Graded(
            exercise=exercise.id,
            version=exercise.version,
            status=status,
            points=float(exercise.points) if status == "passed" else 0.0,
            max_points=float(exercise.points),
            message="" if is_right else "The gates do not sum to <b>one</b>.",
            cause="" if is_right else "Softmax over `the wrong` axis.",
            cure="" if is_right else "Use the last axis.",
            stage="" if is_right else "normalisation",
            seconds=time.monotonic() % 1,
            seed=int.from_bytes(drawn[:4], "big"),
            tier=2,
        )


def answer(name: str, *words: str) -> str:
    """Write an answer that the judge reads."""
    return f"def {name}(*given):\n    return {' '.join(words)!r}\n"


def hand_in(student: str, *words: str, content: bytes | None = None, name: str = "") -> Submission:
    """Answer the first exercise of chapter 00 with these words, or hand in something else."""
    notebook = handed_out("00_start_here")
    cell_of(notebook, "0.1")["source"] = answer("route_by_rule", *words)
    one = submission(notebook if content is None else content, name or "00_start_here.ipynb")
    return replace(one, student=student)
