"""Chapter 05, exercise 5.4: reading a learning curve at a budget."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

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
PRICES = (0.5, 2**-10, 6_000_000_007.0)


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


def _places_as_steps(given: dict[str, Any]) -> float:
    n_paid = int(given["budget"] / given["price"])
    return given["losses"][min(n_paid, len(given["losses"])) - 1]


def _without_price(given: dict[str, Any]) -> float:
    curve = zip(given["steps"], given["losses"], strict=True)
    paid = [loss for step, loss in curve if step <= given["budget"]]
    return paid[-1] if paid else math.inf


def _best(given: dict[str, Any]) -> float:
    curve = zip(given["steps"], given["losses"], strict=True)
    return min(loss for step, loss in curve if step * given["price"] <= given["budget"])


def _next(given: dict[str, Any]) -> float:
    costs = [step * given["price"] for step in given["steps"]]
    later = [i for i, cost in enumerate(costs) if cost >= given["budget"]]
    return given["losses"][later[0] if later else -1]


def _next_or_nothing(given: dict[str, Any]) -> float:
    reached_end = given["steps"][-1] * given["price"] <= given["budget"]
    return math.inf if reached_end else _next(given)


def _added_up(given: dict[str, Any]) -> float:
    spent, last = 0.0, math.inf
    for step, loss in zip(given["steps"], given["losses"], strict=True):
        spent += step * given["price"]
        last = loss if spent <= given["budget"] else last
    return last


def _without_losses_of_zero(given: dict[str, Any]) -> float:
    curve = zip(given["steps"], given["losses"], strict=True)
    paid = [loss for step, loss in curve if step * given["price"] <= given["budget"] and loss]
    return paid[-1] if paid else math.inf


def _without_step_zero(given: dict[str, Any]) -> float:
    curve = zip(given["steps"], given["losses"], strict=True)
    paid = [loss for step, loss in curve if 0 < step * given["price"] <= given["budget"]]
    return paid[-1] if paid else math.inf


def _nearest(given: dict[str, Any]) -> float:
    distances = [abs(step * given["price"] - given["budget"]) for step in given["steps"]]
    return given["losses"][distances.index(min(distances))]


def _interpolated(given: dict[str, Any]) -> float:
    """Draw a straight line between the measurement before the budget and the one after it."""
    costs = [step * given["price"] for step in given["steps"]]
    losses, budget = given["losses"], given["budget"]
    for i in range(len(costs) - 1):
        if costs[i] <= budget < costs[i + 1]:
            share = (budget - costs[i]) / (costs[i + 1] - costs[i])
            return losses[i] + share * (losses[i + 1] - losses[i])
    return losses[-1]


SLIPS = (
    (
        "The price was forgotten: a measurement after n steps has cost n · price.",
        _without_price,
    ),
    (
        "This is the best of the losses that were paid for. Return the *last* one: you would not "
        "have known to stop earlier.",
        _best,
    ),
    (
        "This lies between two measurements. Do not interpolate: nobody measured there.",
        _interpolated,
    ),
    (
        "This measurement was never paid for: when it was taken, more than the budget was spent.",
        _next,
    ),
    (
        "This is the first measurement that was *not* paid for. Remember the one before it.",
        _next_or_nothing,
    ),
    (
        "The costs of the measurements were added up. `steps` counts from the start of the run, so "
        "step · price is already everything spent so far.",
        _added_up,
    ),
    (
        "This is the measurement nearest to the budget, and it may lie beyond it. Take the last "
        "one that is paid for.",
        _nearest,
    ),
    (
        "A loss of 0.0 was taken for no loss at all. It is the best there is: ask whether the list "
        "is empty, and not whether the number is true.",
        _without_losses_of_zero,
    ),
    (
        "What was measured at step 0 was left out. It costs nothing, so every budget pays for it.",
        _without_step_zero,
    ),
    (
        "The place in the list was taken for the number of steps. `steps` says after how many "
        "steps each loss was measured.",
        _places_as_steps,
    ),
)


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
        "Return one loss, a number: no list, no pair.",
        **facts,
    )
    for sentence, slip in SLIPS:
        # One call alone may fit two slips; all of them together fit one.
        fits = all(math.isclose(got, slip(given)) for got, _, given in results)
        require(not fits, OTHER_LOSS, cause=sentence, **facts)
    require(False, OTHER_LOSS, **facts)


@EXERCISE.stage("to the last penny")
def _budget_exact(answer: Any, seed: int) -> None:
    for got, expected, given in _spent(answer, seed, lambda steps, i: steps[i]):
        require(
            got == expected,
            "A measurement that costs exactly the whole budget is paid for, and another came.",
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
            cure="Return `math.inf`, which loses against everybody.",
            expected=math.inf,
            got=got,
            example=given,
        )
