"""A teacher's private probes: more stages for the course's exercises, kept out of the hand-out.

Everybody can read the course's own checks. A probe is one that only the teacher has: a Python file
for each chapter in a folder of their own, called like the chapter.

    # probes/03_router.py
    from moe_teach.course.grading.probes import extra
    from moe_teach.judging.exercise import generator, require

    @extra("3.1")
    def one_token_alone(topk_route, seed):
        import torch
        logits = torch.randn(1, 5, generator=generator(seed))
        gates, _ = topk_route(logits, 2)
        require(gates.shape == (1, 2), "One token alone is not routed like many.", got=gates)

Its words are the function's name; it takes the answer and a seed, and says what must hold with
`require`, as every stage does. Probes run after the exercise's own stages.
"""

import hashlib
import linecache
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.grading import probe_faults
from moe_teach.judging.engine import MANY_SEEDS, run_exercise
from moe_teach.judging.exercise import Exercise, Stage, StageFunction

Probes = dict[str, tuple[Stage, ...]]
_MARK = "moe_teach_probes"


class BadProbe(LookupError):
    """A file of probes cannot be used; the message says which, why and what to do."""


def extra(exercise_id: Any) -> Callable[[StageFunction], StageFunction]:
    """Make the decorated function a further stage of an exercise.

    Raises:
        BadProbe: the exercise is not named in quotes.
    """
    if not isinstance(exercise_id, str):
        raise BadProbe('An exercise is named in quotes, as in `@extra("3.1")`.')

    def mark(function: StageFunction) -> StageFunction:
        setattr(function, _MARK, (*getattr(function, _MARK, ()), exercise_id))
        return function

    return mark


def load_probes(folder: Path) -> Probes:
    """Read all probes of a folder, by exercise; nothing is added to any exercise yet.

    Raises:
        BadProbe: in a sentence, if the folder or a file in it is not as it must be.
    """
    files = sorted(folder.glob("*.py")) if folder.is_dir() else []
    if not files:
        raise BadProbe(
            f"{folder} holds no probes. They are Python files called like the chapters, for "
            "example 03_router.py."
        )
    found: dict[str, list[Stage]] = {}
    for file in files:
        for item_id, stage in _stages_in(file):
            exercise = _exercise(file, item_id)
            taken = [*exercise.stages, *found.get(item_id, [])]
            if any(known.name == stage.name for known in taken):
                raise BadProbe(
                    f"{file}: exercise {item_id} has a stage called {stage.name!r} already. Give "
                    "the function another name."
                )
            found.setdefault(item_id, []).append(stage)
    return {item_id: tuple(stages) for item_id, stages in found.items()}


def marks_of(folder: Path, probes: Probes) -> dict[str, str]:
    """Give a few digits for each probed exercise that change with the text of its probes."""
    texts = {int(file.stem[:2]): file.read_bytes() for file in folder.glob("*.py")}
    found = {}
    for item_id in probes:
        text = texts[registry.find_exercise(item_id).chapter]
        found[item_id] = "+" + hashlib.sha256(text).hexdigest()[:8]
    return found


def is_probed(mark: str) -> bool:
    """Tell from the mark of a check whether probes judged with it."""
    return "+" in mark


def with_probes(exercise: Exercise, probes: Probes) -> Exercise:
    """Give an exercise that is judged by its own stages and then by its probes."""
    return replace(exercise, stages=[*exercise.stages, *probes.get(exercise.id, ())])


def complaints(probes: Probes) -> list[str]:
    """Try every probe: the course's solution must pass, and nonsense must not."""
    said = []
    for item_id, stages in probes.items():
        exercise = registry.find_exercise(item_id)
        for stage in stages:
            alone = replace(exercise, stages=[stage], goal=None)
            solution = materials.reference(exercise)
            right = run_exercise(alone, solution, seeds=MANY_SEEDS)
            if right.state == "course problem":
                why = probe_faults.stopped(stage.run, solution, MANY_SEEDS) or right.message
                said.append(f"{item_id}, {stage.name}: it breaks on the solution. {why}")
            elif right.state != "passed":
                said.append(
                    f"{item_id}, {stage.name}: the solution is turned away: {right.message}"
                )
            elif run_exercise(alone, lambda *_, **__: object()).state == "passed":
                said.append(f"{item_id}, {stage.name}: it lets an answer of nonsense pass.")
    return said


def _stages_in(file: Path) -> list[tuple[str, Stage]]:
    slugs = registry.chapters().values()
    if file.stem not in slugs:
        raise BadProbe(f"{file} is not called like a chapter: {', '.join(slugs)}.")
    text, unreadable = probe_faults.text_of(file)
    if unreadable:
        raise BadProbe(unreadable)
    module = ModuleType(f"moe_teach_probes_{file.stem}")
    linecache.checkcache(str(file))  # it may have been corrected since the last time
    try:  # from its text: a compiled copy may be older, and would lie in the teacher's folder
        exec(compile(text, str(file), "exec"), vars(module))
    except (Exception, SystemExit) as problem:
        raise BadProbe(probe_faults.told(problem, file)) from problem
    marked = [f for f in vars(module).values() if callable(f) and getattr(f, _MARK, ())]
    if not marked:
        raise BadProbe(f'{file} holds no probe: decorate one with `@extra("3.1")`.')
    for function in marked:
        if why := probe_faults.why_no_probe(function):
            raise BadProbe(f"{file}: {why}")
    return [(i, Stage(f.__name__.replace("_", " "), f)) for f in marked for i in getattr(f, _MARK)]


def _exercise(file: Path, item_id: str) -> Exercise:
    try:
        exercise = registry.find_exercise(item_id)
    except registry.UnknownId as unknown:
        raise BadProbe(f"{file}: {unknown}") from unknown
    if registry.chapters()[exercise.chapter] != file.stem:
        raise BadProbe(f"{file}: exercise {item_id} belongs to another chapter's file.")
    return exercise
