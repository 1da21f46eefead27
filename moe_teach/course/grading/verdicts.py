"""What a verdict of the engine, or the end of a worker, is in the records of grading."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from moe_teach.course.grading.ends import Ended
from moe_teach.course.grading.record import Graded, Status
from moe_teach.course.grading.worker import errors
from moe_teach.judging import raised
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise
from moe_teach.judging.outcome import Outcome

_OF_STATE: dict[str, Status] = {
    "passed": "passed",
    "wrong": "failed",
    "raised": "failed",
    "not attempted": "not_attempted",
    "course problem": "ungraded",
}
_AT_FAULT = "The check is at fault, since the course's own answer fails it too. It says:"
_NO_MEMORY = ("not enough memory", "can't allocate memory", "(MemoryError)")


def blank(exercise: Exercise, status: Status, message: str, **told: Any) -> Graded:
    """Make the record of an exercise without points."""
    points = None if status == "ungraded" else 0.0
    return Graded(
        exercise=exercise.id,
        version=exercise.version,
        status=status,
        points=points,
        max_points=float(exercise.points),
        message=message,
        **told,
    )


def ungraded(exercise: Exercise, problem: str) -> Graded:
    """Say why an exercise could not be judged; nobody's points depend on that."""
    return blank(exercise, "ungraded", problem)


def of_end(exercise: Exercise, ended: Ended) -> Graded:
    """Say what the end of a worker is worth."""
    return blank(exercise, ended.status, ended.message)


def of_load(exercise: Exercise, trouble: Any) -> Graded:
    """Say why the cell of an exercise could not be run."""
    if isinstance(trouble, Ended):
        return of_end(exercise, trouble)
    error = errors.opened(trouble)
    message = f"The cell of {exercise.name} cannot be run: {raised.plainly(error)}"
    told = getattr(error, "elsewhere", None)
    detail = "\n".join(f"line {f.lineno} in {f.name}: {f.line}" for f in told.frames[-6:])
    status: Status = "memory" if isinstance(error, MemoryError) else "load_error"
    return blank(exercise, status, message, detail=detail)


def of_outcome(
    exercise: Exercise,
    outcome: Outcome,
    seeds: Sequence[int],
    reference: Callable[[Exercise], Any],
) -> Graded:
    """Say what a verdict of the engine is worth."""
    status = _OF_STATE[outcome.state]
    if outcome.state == "raised" and any(word in outcome.message for word in _NO_MEMORY):
        status = "memory"
    if status == "failed" and not _course_holds(exercise, outcome.stage, seeds, reference):
        detail = f"The course's own answer fails with the seeds {seeds} as well."
        message = f"{_AT_FAULT} {outcome.message}"
        return blank(exercise, "ungraded", message, stage=outcome.stage, detail=detail)
    points = None if status == "ungraded" else float(outcome.earned)
    return Graded(
        exercise=exercise.id,
        version=exercise.version,
        status=status,
        points=points,
        max_points=float(exercise.points),
        message=outcome.message,
        cause=outcome.cause,
        cure=outcome.cure,
        stage=outcome.stage,
        detail=outcome.trace,
    )


def about_prints(text: str) -> tuple[str, ...]:
    """Flag prints of which only the beginning was kept."""
    return ("printed a lot",) if "more characters" in text[-60:] else ()


def _course_holds(exercise: Exercise, stage: str, seeds: Sequence[int], reference: Any) -> bool:
    """Ask the course's own answer about the stage that turned this one away.

    The seeds are fresh: where a check is at fault with one of them, nobody loses a point by it.
    """
    only = [one for one in exercise.stages if one.name == stage]
    if not only or all(seed in range(20) for seed in seeds):  # as `make verify` has tried
        return True
    own = replace(exercise, stages=only, goal=None)
    return run_exercise(own, reference(exercise), seeds=seeds).state == "passed"
