"""What happens when an answer has passed: it is written down, and proved on the side.

MOE_TEACH_MINE says how: `background` (the default) proves in a process that nobody waits for,
`now` waits for it, `off` carries nothing over.
"""

import os
from typing import Any

from moe_teach.course.learner.mine import origin, parts, waiting, writing
from moe_teach.course.learner.mine.statements import current_notebook
from moe_teach.judging.exercise import Exercise

_TOLD: set[tuple[str, str]] = set()  # refusals that this kernel has shown


def is_off() -> bool:
    """Tell whether this session carries nothing over."""
    return os.environ.get("MOE_TEACH_MINE") == "off" or "NBGRADER_EXECUTION" in os.environ


def carry(exercise: Exercise, answer: Any) -> str:
    """Carry a passed answer over and give one line about it; whatever happens, it has passed."""
    if is_off():
        return ""
    try:
        if _is_known(answer):
            return ""
        body, called = writing.body_of(exercise.id, exercise.name, answer, current_notebook())
        return _handed_over(exercise, body, called)
    except writing.Refused as refused:
        return f"It passed, but cannot be carried over into your own package: {refused}"
    except OSError as problem:
        reason = (problem.strerror or str(problem)).rstrip(".")
        return f"(Your own package could not be written: {reason}.)"
    except Exception as problem:
        said = f"{type(problem).__name__}: {problem}".splitlines()[0]
        return f"It passed, but could not be carried over into your own package ({said})."


def refusal(exercise: Exercise) -> str:
    """Say why the latest answer was turned down; empty if it was not, or if nobody can tell."""
    try:
        return waiting.refusal(exercise)
    except OSError:
        return ""


def news(apart_from: Exercise) -> str:
    """Tell, once, of proofs that failed since."""
    try:
        refused = {} if is_off() else waiting.refusals()
    except OSError:
        return ""
    refused.pop(apart_from.id, None)
    fresh = [told for told in refused.items() if told not in _TOLD]
    _TOLD.update(fresh)
    return "\n".join(f"Your answer to {i} could not be carried over: {why}" for i, why in fresh)


def _handed_over(exercise: Exercise, body: str, called: str) -> str:
    before = parts.find(exercise)
    yours = f'`mine("{exercise.id}")`'
    if (
        before is not None
        and before.answers_as(body)
        and before.record.get("version") == exercise.version
    ):
        waiting.drop(exercise)
        return f"{yours} is this answer, with your changes by hand." if before.is_edited else ""
    home = f"your own package: {yours} gives it back, in any notebook."
    if waiting.is_on_its_way(exercise, body):
        return f"On its way into {home}"
    waiting.offer(exercise, parts.composed(exercise, body, called))
    if before is not None and before.is_edited:
        home += " What you had edited by hand is kept in the folder `earlier` beside it."
    if os.environ.get("MOE_TEACH_MINE") != "now":
        waiting.prove_in_background(exercise)
        return f"On its way into {home}"
    waiting.settle(exercise)
    if why := waiting.refusal(exercise):
        return f"It passed, but could not be carried over: {why}"
    return f"Carried over into {home}"


def _is_known(answer: Any) -> bool:
    """Tell whether an answer is a part already, or the course's own."""
    code = origin.code_of(answer)
    if code is None:
        return False
    return code.co_filename.startswith((str(parts.folder()), "<solution cell"))
