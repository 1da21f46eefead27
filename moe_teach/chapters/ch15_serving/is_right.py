"""Chapter 15, exercise 15.5: a test that tells right schedulers from wrong ones."""

from typing import Any

from moe_teach.chapters.ch15_serving.schedulers import RIGHT, WRONG, Serve, scheduler
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="15.5",
    name="is_right",
    title="Find what is wrong: a scheduler that answers everybody",
    points=3,
    difficulty=4,
    importance=4,
    minutes=25,
    needs=("15.2",),
    limit=20,
    hints=(
        "The answers of the scheduler above are right. So look at what the test did not look at: "
        "what was read, and when.",
        "Two schedulers keep the rules if they read the same pieces in the same steps, whatever "
        "the slots and the order within a step. Your own `serve` knows what should be read. What "
        "is left is to find requests on which each rule matters: more requests than slots, "
        "unequal lengths, prompts longer than the budget, late arrivals.",
        'For some seeds: requests = some_requests(seed, 12, 9); run serve and mine("15.2") on '
        "them, each with a fresh CountingModel(3), 3 slots and a budget of 4; compare answers and "
        "passes.",
    ),
    explanation="The scheduler above is static batching: it puts a batch together, and the next "
    "one begins when its longest answer has ended. All answers are right, so a test of answers "
    "passes; what is lost is slots that stand empty. A fault in *when* shows only in a log of "
    "steps. That is why engines export such a log (queue, running, tokens a step) as metrics.",
)


def _says_yes(answer: Any, serve: Serve) -> bool:
    """Ask the learner's test; what a wrong scheduler raises inside it counts as a no."""
    try:
        got = answer(serve)
    except NotImplementedError:
        raise
    except Exception:
        return False
    return _said(got)


def _said(got: Any) -> bool:
    require(
        isinstance(got, bool),
        "The test must say True or False.",
        cure="Return True at the end, and False where a scheduler is found out.",
        expected=Words("True or False"),
        got=got,
    )
    return got


@EXERCISE.stage("right schedulers")
def _right(answer: Any, seed: int) -> None:
    if seed:  # the schedulers stay the same
        return
    for name in RIGHT:
        try:
            says = _said(answer(scheduler(name)))
        except AssertionError:
            says = False
        require(
            says,
            f"Your test turns away a scheduler that keeps all rules ({name}).",
            cause="Any free slot will do, and the pieces of one step have no order.",
            cure="Compare what was read in a step without the slots, and sorted.",
            expected=Words("True"),
            got=says,
        )


@EXERCISE.stage("the scheduler above")
def _above(answer: Any, seed: int) -> None:
    if not seed:
        _demand_no(
            answer, "waits for the batch", "Your test lets the scheduler pass that you were shown."
        )


@EXERCISE.stage("wrong schedulers")
def _wrong(answer: Any, seed: int) -> None:
    if seed:
        return
    for fault in WRONG:
        _demand_no(answer, fault, "Your test lets a scheduler pass that breaks a rule.")


def _demand_no(answer: Any, fault: str, said: str) -> None:
    require(
        not _says_yes(answer, scheduler(fault)),
        said,
        cause=f"Its fault does no harm as long as {WRONG[fault].excuse}.",
        cure=WRONG[fault].deed,
        expected=Words("False"),
        got=Words("True"),
    )
