"""The word `mine`: the reader's own part where there is one, else the course's."""

import contextlib
from pathlib import Path
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.learner.mine import carrying, page, parts, waiting
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise

_SAID: set[str] = set()  # sentences that this kernel has printed: each is worth reading once
_LOADED: dict[Path, tuple[str, int, Any]] = {}  # text, version of the exercise, answer


def mine(item_id: str = "") -> Any:
    """Give your own answer to an exercise: `mine("3.1")`; without an id, show what is yours.

    Where you have none yet, or yours does not work today, this is the course's own, and one
    printed line says so, once for each kernel. A part that you edited, or that passed an earlier
    version of the exercise, is checked before it is given out.

    Raises:
        LookupError: if there is no such exercise.
    """
    if item_id == "":
        return page.overview()
    exercise = registry.find_exercise(item_id)
    try:
        return _yours(exercise)
    except FileNotFoundError:
        why = _why_none(exercise)
    except (parts.BrokenPart, OSError) as problem:
        why = f"yours does not work today: {str(problem).rstrip('.')}"
    _say_once(f'mine("{exercise.id}") is the course\'s own {exercise.name}: {why}.')
    return materials.reference(exercise)


def _why_none(exercise: Exercise) -> str:
    refusal = carrying.refusal(exercise)
    return f"yours was not carried over: {refusal.rstrip('.')}" if refusal else "you have none yet"


def _yours(exercise: Exercise) -> Any:
    """Give the part; while a newer one is being proved, that one if it passes right here.

    Nobody waits for the proof: a check may be running, and its time with it. The proof of an
    assembly does so too, or it would prove the assembly with the course's parts.
    """
    if (part := waiting.find(exercise)) is not None:
        if not carrying.is_off():
            waiting.see_to(exercise)
        with contextlib.suppress(parts.BrokenPart, FileNotFoundError):
            return _loaded(exercise, part)
    return _loaded(exercise, parts.read(exercise))


def _loaded(exercise: Exercise, part: parts.Part) -> Any:
    known = _LOADED.get(part.file)
    if known is None or known[:2] != (part.text, exercise.version):
        answer = parts.load(exercise, part.file)
        if part.file != parts.file_of(exercise) or not part.is_proved_for(exercise):
            _demand_pass(exercise, answer)
        _LOADED[part.file] = known = (part.text, exercise.version, answer)
    return known[2]


def _demand_pass(exercise: Exercise, answer: Any) -> None:
    outcome = run_exercise(exercise, answer, reference=materials.reference)
    if outcome.state != "passed":
        raise parts.BrokenPart(f"its check says: {' '.join(outcome.message.split())}")


def _say_once(sentence: str) -> None:
    if sentence not in _SAID:
        _SAID.add(sentence)
        print(sentence)
