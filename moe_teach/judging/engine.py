"""Runs the stages of an exercise on an answer and says which of five states came out.

The learner's code may loop, exit, recurse, print or return anything at all, and so may its objects
when they are looked at; whatever they do becomes a sentence. An error on our side is a "course
problem" and never the learner's fault.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moe_teach.judging import folding
from moe_teach.judging.calling import FORGOTTEN, Reference, Trial
from moe_teach.judging.compare import describe, difference
from moe_teach.judging.elsewhere import Gone
from moe_teach.judging.exercise import MISSING, Exercise, Goal, Stage, WrongAnswer
from moe_teach.judging.guard import fresh_session, looked_at, within
from moe_teach.judging.outcome import Outcome

SEEDS = (0, 1, 2)
# For whoever tries a solution: small ones as in a notebook, and large ones as grading draws them.
MANY_SEEDS = (*range(11), *range(300_001, 900_000, 66_667))
GOAL = "goal"  # the last stage of an open task


def run_exercise(
    exercise: Exercise,
    answer: Any,
    *,
    seeds: Sequence[int] = SEEDS,
    reference: Reference | None = None,
    goal_seeds: Sequence[int] | None = None,
) -> Outcome:
    """Check `answer`; the first stage that fails for any seed is reported, and nothing raises.

    Only an answer in another process can end this without an outcome (`Gone`). The goal of an open
    task is measured at `goal_seeds`, or at those of the stages.
    """
    blank = Outcome(
        item_id=exercise.id,
        title=exercise.title,
        state="not attempted",
        points=exercise.points,
        stages=_stages(exercise, None),
    )
    call = f'`check("{exercise.id}", {exercise.name})`'
    if answer is MISSING or answer is Ellipsis:
        return replace(blank, message=f"Pass your answer: {call}.")
    with fresh_session():
        trial = looked_at(lambda: _trial(exercise, answer, reference), None)
        if trial is None:
            said = f"Pass {exercise.name} itself, without calling it: {call}."
            got = looked_at(lambda: describe(answer), "an object that cannot be looked at")
            return replace(blank, state="wrong", message=said, got=got)
    with trial.watching():
        for stage in exercise.stages:
            outcome, _ = _run_stage(trial, stage, seeds, blank)
            if outcome is not None:
                return outcome
        passed = replace(
            blank, state="passed", earned=exercise.points, stages=_stages(exercise, "")
        )
        goal = exercise.goal
        return _measured(trial, goal, goal_seeds or seeds, passed) if goal else passed


def _trial(exercise: Exercise, answer: Any, reference: Reference | None) -> Trial | None:
    # An object of the learner's own class can be callable too, as every `nn.Module` is.
    if not callable(answer) or type(answer).__name__ == exercise.name:
        return None
    return Trial(exercise, answer, reference)


def _run_stage(
    trial: Trial, stage: Stage, seeds: Sequence[Any], blank: Outcome
) -> tuple[Outcome | None, list[Any]]:
    """Run one stage for all seeds: give what was wrong, `None` if it holds, and its results."""
    stages = _stages(trial.exercise, stage.name)
    failed = replace(blank, state="wrong", earned=0, stage=stage.name, stages=stages)
    results: list[Any] = []
    with fresh_session() as printed:
        for seed in seeds:
            found = _judged(trial, stage, seed, failed, results)
            if found is not None:
                return with_prints(found, printed.text()), results
    return None, results


def _measured(trial: Trial, goal: Goal, seeds: Sequence[int], passed: Outcome) -> Outcome:
    """Measure a valid answer to an open task, and compare the mean with the goal."""
    if goal.measuring is None:
        said = f"The goal of exercise {trial.exercise.id} has no measure."
        return replace(passed, state="course problem", earned=0, message=said)
    rounds = [list(seeds)] if goal.side_by_side else seeds
    outcome, figures = _run_stage(trial, Stage(GOAL, goal.measuring), rounds, passed)
    if outcome is not None:
        return outcome
    figures = figures[0] if goal.side_by_side else figures
    figure = sum(figures) / len(figures)
    counts = figure if math.isfinite(figure) else None
    told = replace(passed, message=goal.in_words(figure), measured=counts)
    if goal.is_reached(figure):
        return told
    stages = _stages(trial.exercise, GOAL)
    return replace(
        told, state="wrong", earned=0, stage=GOAL, stages=stages, cause=goal.cause, cure=goal.cure
    )


def _judged(
    trial: Trial, stage: Stage, seed: Any, failed: Outcome, results: list[Any]
) -> Outcome | None:
    """Run one stage for one seed and keep its result; `None` means that it holds.

    All that touches the learner's objects happens in here, under a limit: the run with the words
    for a wrong answer, and then the words for an error.
    """

    def run() -> Outcome | None:
        try:
            results.append(stage.run(trial.answer, seed))
        except WrongAnswer as verdict:
            return _wrong(failed, verdict)
        return None

    try:
        return within(trial.exercise.limit, run)
    except Gone:  # an answer that lives elsewhere, and there is nothing left to judge
        raise
    except BaseException as error:
        thrown = error
    lost = (
        f"{trial.exercise.name} raised an error that cannot be shown: asking it for its text "
        "raises another one or never ends."
    )
    otherwise = replace(failed, state="raised", message=lost)
    return looked_at(lambda: _raised(failed, thrown, trial, stage, seed), otherwise)


def _wrong(failed: Outcome, verdict: WrongAnswer) -> Outcome:
    told = {"message": verdict.message, "cause": verdict.cause, "cure": verdict.cure}
    if _looks_rounded(verdict.got, verdict.expected):
        told["cause"] = "It looks like the right number, rounded."
        told["cure"] = "Return it as it comes out of the formula, without `round` or `int`."
    return replace(
        failed,
        **told,
        expected="" if verdict.expected is MISSING else describe(verdict.expected),
        got="" if verdict.got is MISSING else describe(verdict.got),
        difference=difference(verdict.got, verdict.expected),
        example=_described(verdict.example),
    )


def _looks_rounded(got: Any, expected: Any) -> bool:
    """Say whether a number seems to be the expected one, rounded to a few decimals or up or down.

    Small whole numbers never count: they are near everything.
    """
    if type(got) not in (int, float) or type(expected) is not float or got == expected:
        return False
    if not (math.isfinite(got) and math.isfinite(expected)):
        return False
    if got == int(got):
        return abs(expected) >= 20 and got in (math.floor(expected), math.ceil(expected))
    return any(got == round(expected, digits) for digits in range(1, 6))


def _described(values: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, describe(value)) for name, value in values.items())


def _raised(
    failed: Outcome, error: BaseException, trial: Trial, stage: Stage, seed: int
) -> Outcome:
    from moe_teach.judging import raised

    frames = trial.learner_frames(error, stage)
    name = trial.exercise.name
    if folding.says_not_implemented(error, frames):
        message = "The stub still says `raise NotImplementedError`: write your answer there."
        return replace(failed, state="not attempted", stage="", message=message)
    if frames:
        message, cause, cure = raised.words(error, name, trial.exercise.limit)
        return replace(
            failed,
            state="raised",
            message=message,
            cause=cause,
            cure=cure,
            trace=folding.folded(frames),
            example=_described(trial.example(error)),
        )
    if isinstance(error, KeyboardInterrupt):
        return replace(failed, state="raised", message="The check was interrupted before its end.")
    if trial.course_passes(stage, seed):
        message, cause, cure = raised.outside(error, name, trial.exercise.limit)
        return replace(failed, message=message, cause=cause, cure=cure)
    message = raised.of_the_course(error, stage.name, failed.item_id, trial.exercise.limit)
    return replace(failed, state="course problem", message=message)


def _stages(exercise: Exercise, failed: str | None) -> tuple[tuple[str, Any], ...]:
    """List the stages: all passed for an empty `failed`, none reached for `None`."""
    names = [stage.name for stage in exercise.stages] + [GOAL] * (exercise.goal is not None)
    if failed is None:
        return tuple((name, "not reached") for name in names)
    if not failed:
        return tuple((name, "passed") for name in names)
    at = names.index(failed)
    states = ["passed"] * at + ["failed"] + ["not reached"] * (len(names) - at - 1)
    return tuple(zip(names, states, strict=True))


def with_prints(outcome: Outcome, printed: str) -> Outcome:
    """Add what the learner's code printed to what was wrong with it."""
    text = printed.strip()
    if outcome.state not in ("wrong", "raised"):
        return outcome
    cause = outcome.cause
    if text and cause == FORGOTTEN:
        cause += " It printed something, but a check reads what is returned, not what is printed."
    return replace(outcome, cause=cause, printed=text)
