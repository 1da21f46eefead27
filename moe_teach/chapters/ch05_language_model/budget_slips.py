"""What the usual slips at a budget give, for exercise 5.4 to name them."""

import math
from typing import Any


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


# Cause, cure, and the loss that the slip gives.
BUDGET_SLIPS = (
    (
        "The price was forgotten.",
        "A measurement after n steps has cost n · price: compare that with the budget.",
        _without_price,
    ),
    (
        "This is the best of the losses that were paid for.",
        "Return the *last* one: you would not have known to stop earlier.",
        _best,
    ),
    (
        "This lies between two measurements.",
        "Do not interpolate: nobody measured there.",
        _interpolated,
    ),
    (
        "This measurement was never paid for: when it was taken, more than the budget was spent.",
        "Take the last one with step · price <= budget.",
        _next,
    ),
    (
        "This is the first measurement that was *not* paid for.",
        "Remember the one before it.",
        _next_or_nothing,
    ),
    (
        "The costs of the measurements were added up.",
        "`steps` counts from the start of the run, so step · price is already everything spent so "
        "far.",
        _added_up,
    ),
    (
        "This is the measurement nearest to the budget, and it may lie beyond it.",
        "Take the last one that is paid for.",
        _nearest,
    ),
    (
        "A loss of 0.0 was taken for no loss at all.",
        "It is the best there is: ask whether the list is empty, and not whether the number is "
        "true.",
        _without_losses_of_zero,
    ),
    (
        "What was measured at step 0 was left out.",
        "It costs nothing, so every budget pays for it.",
        _without_step_zero,
    ),
    (
        "The place in the list was taken for the number of steps.",
        "`steps` says after how many steps each loss was measured.",
        _places_as_steps,
    ),
)
