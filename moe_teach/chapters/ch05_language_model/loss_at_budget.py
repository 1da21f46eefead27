"""Chapter 05, exercise 5.4: reading a learning curve at a budget."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from moe_teach.chapters.ch05_language_model.budget_slips import BUDGET_SLIPS
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="5.4",
    name="loss_at_budget",
    title="What had it learned when the money was gone?",
    points=1,
    difficulty=1,
    importance=4,
    minutes=10,
    hints=(
        "After how many steps was each measurement taken, and what had been spent by then? Keep "
        "those that the budget covers.",
        "A measurement after `step` steps has cost `step * price`. `zip(steps, losses)` walks "
        "through both lists; the last one that fits is the answer.",
        "affordable = [loss for step, loss in zip(steps, losses) if step * price <= budget]; "
        "return affordable[-1] if affordable else math.inf",
    ),
    explanation="The same curve gives three numbers, one for each price. The last measurement, and "
    "not the best: a rule that looks at the whole curve first is not a rule you could have "
    "followed. A whole learning-rate schedule is not read this way, either; the lesson says why.",
)
OTHER_LOSS = "This is not the last loss for which step · price fits the budget."
# A step, seconds and FLOPs: all exact in binary, so that dividing the budget is as good.
PRICES = (0.5, 2**-10, 2**-40, 6_000_000_007.0)


def _curves(seed: int) -> list[tuple[Sequence[int], Sequence[float]]]:
    draw = random.Random(seed)
    # One is measured before the first step, one learns everything, and one comes as tuples.
    made: list[tuple[Sequence[int], Sequence[float]]] = [
        ([10], [1.5]),
        ([10, 20], [2.5, 2.0]),
        ([0, 7], [3.0, 2.0]),
        ((3, 6, 11), (2.0, 0.0, 0.0)),
    ]
    for length in (3, 5, 8):
        every = draw.randrange(5, 50)
        steps = [every * (i + 1) + draw.randrange(3) for i in range(length)]
        falling = sorted((draw.uniform(0.5, 5.5) for _ in steps), reverse=True)
        falling[-2], falling[-1] = falling[-1], falling[-2]  # a curve that rises at its end
        made.append((steps, [round(loss, 3) for loss in falling]))
    return made


def _spent(
    answer: Any, seed: int, place: Callable[[Sequence[int], int], float]
) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Ask at a budget for every measurement of every curve: what came, what is right, the call."""
    results = []
    for price, (steps, losses) in itertools.product(PRICES, _curves(seed)):
        for i in range(len(steps)):
            budget = place(steps, i) * price
            curve = zip(steps, losses, strict=True)
            paid = [loss for step, loss in curve if step * price <= budget]
            given = {"steps": steps, "losses": losses, "price": price, "budget": budget}
            results.append((answer(**given), paid[-1], given))
    return results


@EXERCISE.stage("between measurements")
def _budget_between(answer: Any, seed: int) -> None:
    results = [
        *_spent(answer, seed, lambda steps, i: steps[i] + 1),
        *_spent(answer, seed, lambda steps, i: [*steps, steps[-1] + 5][i + 1] - 1),
    ]
    wrong = [(got, expected, given) for got, expected, given in results if got != expected]
    if not wrong:
        return
    facts = dict(zip(("got", "expected", "example"), wrong[0], strict=True))
    require(
        isinstance(wrong[0][0], int | float),
        "One loss was asked for, a number, and something else came.",
        cause="All that were paid for were returned, or a pair of step and loss.",
        cure="Return the loss of the last of them: `paid[-1]`.",
        **facts,
    )
    for cause, cure, slip in BUDGET_SLIPS:
        # One call alone may fit two slips; all of them together fit one.
        fits = all(math.isclose(got, slip(given)) for got, _, given in results)
        require(not fits, OTHER_LOSS, cause=cause, cure=cure, **facts)
    require(
        False,
        OTHER_LOSS,
        cause="Steps, prices or losses were counted, averaged, or compared with an allowance.",
        cure="Go through steps and losses together, and keep the loss while step * price <= "
        "budget.",
        **facts,
    )


@EXERCISE.stage("to the last penny")
def _budget_exact(answer: Any, seed: int) -> None:
    for got, expected, given in _spent(answer, seed, lambda steps, i: steps[i]):
        require(
            got == expected,
            "A measurement that costs exactly the whole budget is paid for, and another came.",
            cause="The comparison is `<`, and spending all of the budget is allowed.",
            cure="Compare with <=.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("nothing paid for")
def _budget_nothing(answer: Any, seed: int) -> None:
    for steps, losses in _curves(seed):
        if steps[0] == 0:  # paid for by nothing
            continue
        given = {"steps": steps, "losses": losses, "price": 2.0, "budget": 2.0 * steps[0] - 1}
        try:
            got = answer(**given)
        except (IndexError, ValueError, UnboundLocalError) as problem:
            require(
                False,
                "A budget that does not reach the first measurement is no error.",
                cause="The list of what was paid for may be empty.",
                cure="Return `math.inf` then.",
                expected=math.inf,
                got=Words(type(problem).__name__),
                example=given,
            )
        require(
            got == math.inf,
            "The budget does not reach the first measurement, so nothing is known: a loss came.",
            cause="Something else stands for `no measurement`: the first loss, a NaN, a zero.",
            cure="Return `math.inf`, which loses against everybody.",
            expected=math.inf,
            got=got,
            example=given,
        )
