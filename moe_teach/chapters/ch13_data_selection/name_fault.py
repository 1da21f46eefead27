"""Chapter 13, exercise 13.5: find what is wrong with somebody's selector, by asking it."""

from typing import Any

from moe_teach.chapters.ch13_data_selection.suspects import FAULTS, case
from moe_teach.judging.exercise import Exercise, Words, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="13.5",
    name="name_fault",
    title="Find what is wrong: Selectors of other people",
    points=3,
    difficulty=4,
    importance=4,
    minutes=20,
    limit=20,
    changes_inputs=True,  # the learner's mode is what some suspects change
    hints=(
        "One experiment for each fault, in which only that one shows. Where dropout might be at "
        "work put the model to sleep first; where the past might matter make the selector anew.",
        "In evaluation mode ask new selectors at several steps, and one selector for all of these "
        "steps in a row: where they differ it is history. Are all of the new ones' choices one and "
        "the same? Then ask again in training mode: where that differs the scores were drawn.",
        "rows(make, steps) = [sorted(make().choose(model, candidates, n_chosen, s).tolist()) for s "
        "in steps]. model.train(), one call, model.training is False: left asleep. A row named "
        "twice: twice. model.eval(): new = rows(...); one = make(), in a row: differs: history. "
        "All of `new` equal: no step. model.train(): rows(...) != new: awake. Mean of "
        "row_losses(model) - row_losses(reference) over the chosen below that of all: sign.",
    ),
    explanation="None of these selectors gives an error. Who leaves the learner asleep changes "
    "what it does after every choice. Who scores it awake adds a lottery to each score. A "
    "generator that lives on makes a run that was stopped and resumed another run; one that "
    "forgets the step draws the same luck in every batch. The flipped sign takes rows that the "
    "learner does better than the reference, and in a noisy stream noise among them before what "
    "is left to learn. The order of the experiments matters, since one fault can look like "
    "another: a selector with a history draws the same luck whenever it is made anew.",
)

_SEEN = {
    "healthy": Why("Other rows in another step are no fault: the draw depends on the step.",
                   "Compare choices of the same step only."),
    "left asleep": Why("After this selector has chosen, the model is in evaluation mode.",
                       "`model.train()`, `choose`, then look at `model.training`."),
    "twice": Why("This selector names a row twice.", "Count the different rows of a choice."),
    "awake": Why("This selector scores the learner with its dropout at work.",
                 "The same step twice, made anew each time: after `model.train()`, and after "
                 "`model.eval()`."),
    "history": Why("What this selector chooses at a step depends on which steps it chose for "
                   "before.", "In evaluation mode, one that was made anew for a step against one "
                   "that went through all of them."),
    "no step": Why("This selector chooses the same rows of these candidates in every step, new or "
                   "not.", "Ask for several steps, made anew, and after history is ruled out."),
    "sign": Why("This selector prefers rows that the learner does better than the reference.",
                "Mean learnability of the chosen against that of all candidates."),
}  # fmt: skip
_UPSIDE_DOWN = Why(
    "A right selector prefers rows where the reference's loss is less than the learner's.",
    "Learner minus reference, and the chosen rows above the mean.",
)
_HARD = Why(
    "A high loss of the learner is not the same as high learnability: here the reference finds "
    "the same rows harder still.",
    "Learner minus reference, the chosen rows against the mean of all candidates.",
)


def _demand(answer: Any, fault: str, seed: int) -> None:
    # Where a fault need not show in every choice, two suspects a seed; else each kind in turn.
    for i in (0, 1) if fault in ("twice", "awake") else (seed % 2,):
        got = answer(**case("" if fault == "healthy" else fault, 100 * seed + i))
        require(
            isinstance(got, str) and got in _SEEN,
            'The answer is the name of a fault, or "healthy".',
            expected=Words(", ".join(_SEEN)),
            got=got,
        )
        if got != fault:
            why = _SEEN[fault]
            if (fault, got) == ("healthy", "sign"):
                why = _UPSIDE_DOWN if i == 0 else _HARD
            said = f"called {got!r}" if got != "healthy" else "passed as healthy"
            require(
                False,
                f"A selector was {said}, and it is {fault!r}.",
                **why._asdict(),
                expected=fault,
                got=got,
            )


@EXERCISE.stage("healthy")
def _suspect_healthy(answer: Any, seed: int) -> None:
    _demand(answer, "healthy", seed)


@EXERCISE.stage("form of a choice")
def _suspect_form(answer: Any, seed: int) -> None:
    for fault in FAULTS[:2]:
        _demand(answer, fault, seed)


@EXERCISE.stage("memory and luck")
def _suspect_luck(answer: Any, seed: int) -> None:
    for fault in FAULTS[2:5]:
        _demand(answer, fault, seed)


@EXERCISE.stage("what is preferred")
def _suspect_sign(answer: Any, seed: int) -> None:
    _demand(answer, FAULTS[5], seed)
