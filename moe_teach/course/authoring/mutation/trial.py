"""Puts mutants of one exercise before its check, one after the other."""

import time
from dataclasses import dataclass, replace
from typing import Any, Literal

from moe_teach.course import materials
from moe_teach.course.authoring.mutation.mutants import PROBE, Mutant
from moe_teach.course.authoring.sources import Source
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise
from moe_teach.judging.filing import file_source
from moe_teach.judging.guard import fresh_session
from moe_teach.judging.outcome import Outcome

Fate = Literal["rejected", "survived", "without effect", "crashed"]
_PATIENCE = 5.0  # a stage may take so many times what the whole check of the solution takes


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant, and in which words."""

    fate: Fate
    said: str


class Trial:
    """One exercise with its solution, ready to judge mutants."""

    def __init__(self, exercise: Exercise, source: Source) -> None:
        """Run the chapter's solutions; raises `ValueError` when this one does not pass."""
        cells = [(c.role or "code", c.item_id, c.source) for c in source.cells if c.kind == "code"]
        self._exercise = exercise
        self._namespace = materials.build_namespace(cells)
        self._reference = self._namespace[exercise.name]
        begin = time.perf_counter()
        outcome = self._check(self._reference)
        seconds = time.perf_counter() - begin
        if outcome.state != "passed":
            raise ValueError(f"The solution of {exercise.id} does not pass: {outcome.message}")
        # An endless loop must not cost the learner's ten seconds, a hundred times over.
        limit = min(exercise.limit, max(1.0, _PATIENCE * seconds))
        self._patient, self._exercise = exercise, replace(exercise, limit=limit)

    def judge(self, mutant: Mutant) -> Verdict:
        """Define the mutant, run the check on it, and say what happened."""
        try:
            with fresh_session():
                answer = self._defined(mutant.code)
        except Exception as error:
            return Verdict("rejected", f"defining it raises {type(error).__name__}: {error}")
        outcome = self._check(answer)
        if outcome.state == "course problem":  # the short limit is too short for a crowded machine
            outcome = self._check(answer, self._patient)
        place = f" at stage {outcome.stage!r}" if outcome.stage else ""
        said = f"{outcome.state}{place}: {outcome.message}".rstrip(": ")
        if outcome.state in ("wrong", "raised"):
            return Verdict("rejected", said)
        if mutant.only and not self._holds(mutant):
            return Verdict("without effect", f"no {mutant.only} ever pass the place")
        return Verdict("survived", said)

    def _check(self, answer: Any, exercise: Exercise | None = None) -> Outcome:
        return run_exercise(exercise or self._exercise, answer, reference=lambda _: self._reference)

    def _defined(self, code: str, **extra: Any) -> Any:
        import torch

        namespace = {"torch": torch, **self._namespace, **extra}
        exec(compile(code, file_source(code, "mutant"), "exec"), namespace)
        return namespace[self._exercise.name]

    def _holds(self, mutant: Mutant) -> bool:
        """Run the solution and look whether the place ever holds what the rule is about."""
        from moe_teach.course.authoring.mutation.probe import Probe

        probe = Probe()
        self._check(probe.watched(self._defined(mutant.probe, **{PROBE: probe})))
        return mutant.only in probe.kinds
