"""Runs the stages of an exercise on an answer and says which of five states came out.

The learner's code may loop, exit, recurse, print or return anything at all; whatever it does
becomes a sentence. An error on our side is a "course problem" and never the learner's fault.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from moe_teach.judging import folding
from moe_teach.judging.calling import FORGOTTEN, Caller, readable
from moe_teach.judging.compare import looks_rounded
from moe_teach.judging.describe import describe, difference
from moe_teach.judging.exercise import MISSING, Exercise, Stage, WrongAnswer
from moe_teach.judging.guard import PrintedText, TookTooLong, quiet, steady_torch, time_limit
from moe_teach.judging.outcome import Outcome

SEEDS = (0, 1, 2)

# Gives the course's own solution, to find out on whose side an unforeseen error arose.
Reference = Callable[[Exercise], Any]


def run_exercise(
    exercise: Exercise,
    answer: Any,
    *,
    seeds: Sequence[int] = SEEDS,
    reference: Reference | None = None,
) -> Outcome:
    """Check `answer`; the first stage that fails for any seed is reported, and nothing raises."""
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
    # An object of the learner's own class can be callable too, as every `nn.Module` is.
    if not callable(answer) or type(answer).__name__ == exercise.name:
        return replace(
            blank,
            state="wrong",
            message=f"Pass {exercise.name} itself, without calling it: {call}.",
            got=describe(answer),
        )
    trial = _Trial(exercise, answer, reference)
    for stage in exercise.stages:
        outcome = _run_stage(trial, stage, seeds)
        if outcome is not None:
            return outcome
    return replace(blank, state="passed", stages=_stages(exercise, ""))


def _run_stage(trial: "_Trial", stage: Stage, seeds: Sequence[int]) -> Outcome | None:
    exercise = trial.exercise
    blank = Outcome(
        item_id=exercise.id,
        title=exercise.title,
        state="wrong",
        points=exercise.points,
        stage=stage.name,
        stages=_stages(exercise, stage.name),
    )
    with quiet() as printed, steady_torch():
        for seed in seeds:
            try:
                with time_limit(exercise.limit):
                    try:
                        stage.run(trial.answer, seed)
                    except WrongAnswer as verdict:
                        # Described inside the time limit: a learner's __repr__ may loop too.
                        found = _wrong(blank, verdict)
                    else:
                        continue
            except BaseException as error:
                found = _raised(blank, error, trial, stage, seed)
            return _with_prints(found, printed)
    return None


def _wrong(blank: Outcome, verdict: WrongAnswer) -> Outcome:
    message = verdict.message
    if looks_rounded(verdict.got, verdict.expected):
        message += " Or is it the right number, rounded? Return it as it is."
    return replace(
        blank,
        message=message,
        expected="" if verdict.expected is MISSING else describe(verdict.expected),
        got="" if verdict.got is MISSING else describe(verdict.got),
        difference=difference(verdict.got, verdict.expected),
        example=_described(verdict.example),
    )


def _described(values: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, describe(value)) for name, value in values.items())


class _Trial:
    """One answer to one exercise, and whose fault it is when something breaks."""

    def __init__(self, exercise: Exercise, answer: Any, reference: Reference | None) -> None:
        self.exercise = exercise
        self._caller = Caller(exercise, answer, self._course_answer)
        self.answer = self._caller.answer
        self._file = folding.file_of(answer)
        self._reference = reference

    def _course_answer(self) -> Any:
        return self._reference(self.exercise) if self._reference else None

    def example(self, error: BaseException) -> tuple[tuple[str, str], ...]:
        """Describe the arguments of the latest call, as they were before it.

        A kernel is not called but launched, and the launch leaves them with the error.
        """
        return _described(readable(self._caller.inputs) or getattr(error, "example", {}))

    def learner_frames(self, error: BaseException, stage: Stage) -> list[traceback.FrameSummary]:
        """Give the learner's own frames of an error; none means that the check's code raised."""
        return folding.learner_frames(error.__traceback__, self._file, stage.run.__code__)

    def course_passes(self, stage: Stage, seed: int) -> bool:
        """Say whether the course's own solution survives the same stage and seed."""
        if self._reference is None:
            return False
        try:
            with time_limit(self.exercise.limit):
                stage.run(self._reference(self.exercise), seed)
        except (Exception, TookTooLong):
            return False
        return True


def _raised(
    blank: Outcome, error: BaseException, trial: _Trial, stage: Stage, seed: int
) -> Outcome:
    frames = trial.learner_frames(error, stage)
    exercise = trial.exercise
    if folding.says_not_implemented(error, frames):
        message = "The stub still says `raise NotImplementedError`: write your answer there."
        return replace(blank, state="not attempted", stage="", message=message)
    if frames:
        message = _sentence(error, exercise)
        trace = folding.folded(frames)
        example = trial.example(error)
        return replace(blank, state="raised", message=message, trace=trace, example=example)
    if isinstance(error, KeyboardInterrupt):
        return replace(blank, state="raised", message="The check was interrupted before its end.")
    if trial.course_passes(stage, seed):
        message = (
            f"The check could not use what {exercise.name} gave it "
            f"({_plainly(error)}). Compare kind and shape with the contract in the docstring."
        )
        return replace(blank, message=message)
    message = f"{_plainly(error)} (stage {blank.stage!r} of exercise {blank.item_id})"
    return replace(blank, state="course problem", message=message)


def _sentence(error: BaseException, exercise: Exercise) -> str:
    if isinstance(error, TookTooLong):
        return (
            f"{exercise.name} did not come back within {exercise.limit:g} seconds and was "
            "stopped. Is there a loop that never ends?"
        )
    if isinstance(error, RecursionError):
        return f"{exercise.name} calls itself without end (RecursionError)."
    if isinstance(error, SystemExit):
        return f"{exercise.name} tried to end Python (SystemExit). Return a value instead."
    if isinstance(error, KeyboardInterrupt):
        return f"{exercise.name} was interrupted before it returned (KeyboardInterrupt)."
    if isinstance(error, MemoryError):
        return f"{exercise.name} asked for more memory than there is (MemoryError)."
    text = f"{exercise.name} raised {_plainly(error)}"
    meant = folding.near_name(error)
    return f"{text.rstrip('.')}. Did you mean `{meant}`?" if meant else text


def _plainly(error: BaseException) -> str:
    try:
        text = str(error).strip()
    except Exception:  # a learner's exception may have a broken __str__
        text = ""
    return f"{type(error).__name__}: {text[:600]}" if text else type(error).__name__


def _stages(exercise: Exercise, failed: str | None) -> tuple[tuple[str, Any], ...]:
    """List the stages: all passed for an empty `failed`, none reached for `None`."""
    names = [stage.name for stage in exercise.stages]
    if failed is None:
        return tuple((name, "not reached") for name in names)
    if not failed:
        return tuple((name, "passed") for name in names)
    at = names.index(failed)
    states = ["passed"] * at + ["failed"] + ["not reached"] * (len(names) - at - 1)
    return tuple(zip(names, states, strict=True))


def _with_prints(outcome: Outcome, printed: PrintedText) -> Outcome:
    text = printed.text().strip()
    if outcome.state not in ("wrong", "raised"):
        return outcome
    message = outcome.message
    if text and message.endswith(FORGOTTEN):
        message += " It printed something, but a check reads what is returned, not what is printed."
    return replace(outcome, message=message, printed=text)
