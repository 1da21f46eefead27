"""Judges one submission: its code in workers, exercises, inputs and verdicts here.

Each exercise gets a worker of its own, with the cells that it needs and no others, so that nothing
which one answer does costs another one a point.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.grading import loading, verdicts
from moe_teach.course.grading.ends import Ended
from moe_teach.course.grading.host import Host, NoServer
from moe_teach.course.grading.inside import FLAG, INSIDE
from moe_teach.course.grading.probes import Probes, with_probes
from moe_teach.course.grading.record import Answers, Graded, Limits
from moe_teach.course.grading.remote import Line
from moe_teach.course.grading.worker import confine
from moe_teach.judging import engine
from moe_teach.judging.exercise import Exercise, Stage

_LOAD_SECONDS = 20.0
_OWN_TIME = 6  # times the seconds of a worker, for the grader's own part of a stage
_WHOLE_CHECK = 6  # times the seconds of one stage, for all of its stages and seeds together


def judge(
    answers: Answers,
    *,
    seed: int,
    seconds: float | int | None = None,
    memory_mb: int = 4096,
    host: Host | None = None,
    only: Sequence[str] = (),
    probes: Probes | None = None,
) -> list[Graded]:
    """Judge the exercises of one submission, each in a worker; nothing that a worker does raises.

    `seconds` is for one run of a stage, as the exercise's own limit is, which it replaces. `host`
    is a fork server to use; without one, a server is started and ended here. `only` names the
    exercises to judge; all of the chapter if it is empty. `probes` are stages of the teacher's.
    """
    exercises = [with_probes(item, probes or {}) for item in registry.load(answers.chapter).values()
                 if isinstance(item, Exercise) and (not only or item.id in only)]  # fmt: skip
    if answers.problem:
        return [verdicts.ungraded(item, answers.problem) for item in exercises]
    own = host
    try:
        own = own or Host()
        run = _Run(own, answers, seed, seconds, memory_mb)
        return [run.judged(exercise) for exercise in exercises]
    except NoServer as problem:
        return [verdicts.ungraded(item, str(problem)) for item in exercises]
    finally:
        if own is not None and host is None:
            own.close()


def seeds_of(seed: int, submission: str, exercise: str) -> tuple[int, tuple[int, ...]]:
    """Derive what is recorded for an exercise, and the three seeds that its stages run with.

    The first is 0 for every submission: some stages do their costly part for that one alone. The
    other two are fresh for each submission and exercise. Together they leave all remainders of 3,
    by which some stages take turns.
    """
    text = f"{seed}:{submission}:{exercise}".encode()
    drawn = int.from_bytes(hashlib.sha256(text).digest()[:6], "big")
    return drawn, replayed(drawn)


def replayed(drawn: int) -> tuple[int, ...]:
    """Give the three seeds of a recorded one."""
    first, second = drawn % 300_000, drawn // 300_000 % 300_000
    return 0, 3 * first + 1, 3 * second + 2


@dataclass
class _Run:
    """The judging of one submission: what is known so far of its cells and exercises."""

    host: Host
    answers: Answers
    seed: int
    seconds: float | int | None
    memory_mb: int
    cells: loading.Cells = field(init=False)
    done: dict[str, Graded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cells = loading.Cells(self.answers)

    def judged(self, exercise: Exercise) -> Graded:
        """Judge one exercise, and remember what came of it."""
        drawn, seeds = seeds_of(self.seed, self.answers.submission.sha256, exercise.id)
        begin = time.monotonic()
        if exercise.id in self.answers.missing or not self.cells.has(exercise.id):
            found = verdicts.blank(exercise, "missing", "The submission has no cell for it.")
        elif exercise.id in self.answers.untouched:
            found = verdicts.blank(exercise, "not_attempted", "The cell is as it was handed out.")
        else:
            found = self._safely_tried(exercise, seeds)
        inside = (FLAG,) if exercise.id in INSIDE else ()
        flags = (*found.flags, *inside, *self.answers.flags.get(exercise.id, ()))
        found = replace(found, seconds=round(time.monotonic() - begin, 3), seed=drawn,
                        tier=confine.tier(), flags=flags)  # fmt: skip
        self.done[exercise.id] = found
        return found

    def _safely_tried(self, exercise: Exercise, seeds: Sequence[int]) -> Graded:
        """Judge, and let no fault of this side's be a learner's, or end the work on others."""
        try:
            return self._tried(exercise, seeds)
        except NoServer as problem:
            return verdicts.ungraded(exercise, str(problem))
        except Exception as problem:
            said = f"{type(problem).__name__}: {problem}"
            return verdicts.ungraded(exercise, f"The grader itself failed. {said}"[:500])

    def _tried(self, exercise: Exercise, seeds: Sequence[int]) -> Graded:
        """Judge in a worker; cells that cannot be loaded beside it are left out, once each."""
        broken = {item for item, graded in self.done.items() if graded.status != "passed"}
        while True:
            plan = self.cells.plan(exercise, broken)
            limits = Limits(seconds=self.seconds or exercise.limit, memory_mb=self.memory_mb)
            worker = self.host.start(limits, _WHOLE_CHECK * limits.seconds + _LOAD_SECONDS)
            try:
                found, again = self._in(worker, exercise, plan, seeds)
            finally:
                worker.end()
            if not again:
                return replace(found, peak_mb=worker.peak_mb, flags=(*found.flags, *plan.flags))

    def _in(self, worker: Any, exercise: Exercise, plan: Any, seeds: Any) -> tuple[Any, bool]:
        line = Line(worker, exercise, plan.part)
        try:
            for step in plan.steps:
                trouble = self._loaded(line, step)
                if trouble is not None and step.is_own:
                    return verdicts.of_load(exercise, trouble), False
                if isinstance(trouble, Ended) and step.exercise in plan.given:
                    return verdicts.ungraded(exercise, trouble.message), False
                is_learners = step.exercise and step.exercise not in plan.given
                if isinstance(trouble, Ended) or (trouble is not None and is_learners):
                    self.cells.drop(step)
                    return None, True  # a helper that only raised did so in the notebook, too
        except Ended as ended:
            return verdicts.of_end(exercise, ended), False
        return judged_in(line, exercise, seeds), False

    def _loaded(self, line: Line, step: Any) -> Any:
        line.worker.name = step.label
        line.worker.wait_at_most(min(_LOAD_SECONDS, 2 * line.worker.limits.seconds))
        try:
            return line.ask("load", step.source, step.label)
        except Ended as ended:
            return ended
        finally:
            line.worker.name = line.exercise.name


def judged_in(
    line: Line,
    exercise: Exercise,
    seeds: Sequence[int],
    reference: Callable[[Exercise], Any] = materials.reference,
) -> Graded:
    """Run the stages here on an answer that is loaded in a worker."""
    try:
        outcome = outcome_of(line, exercise, seeds, reference)
    except Ended as ended:
        return verdicts.of_end(exercise, ended)
    found = verdicts.of_outcome(exercise, outcome, seeds, reference)
    return replace(found, flags=(*found.flags, *verdicts.about_prints(outcome.printed)))


def outcome_of(line: Line, exercise: Exercise, seeds: Any, reference: Any) -> Any:
    """Give what the engine says of an answer in a worker; `Ended` if there is no more worker."""
    seconds = line.worker.limits.seconds
    line.worker.wait_at_most(seconds)
    if exercise.id in INSIDE:
        line.worker.wait_at_most(_WHOLE_CHECK * seconds)
        return line.outcome(list(seeds))
    answer = line.answer()

    def begun(stage: Stage) -> Stage:
        def run(answer: Any, seed: int) -> Any:
            line.worker.wait_at_most(seconds)
            line.things.begin()
            line.ask("begin")
            return stage.run(answer, seed)

        return Stage(stage.name, run)

    stages = [begun(stage) for stage in exercise.stages]
    watched = replace(exercise, stages=stages, limit=_OWN_TIME * seconds + 10)
    # An open task is measured as in the notebook, so that its figure is the one its author saw.
    how = {"seeds": seeds, "reference": reference, "goal_seeds": engine.SEEDS}
    outcome = engine.run_exercise(watched, answer, **how)
    if line.worker.is_over:
        return outcome
    line.worker.wait_at_most(seconds)
    text = str(line.ask("printed"))
    return replace(engine.with_prints(outcome, text), printed=text)
