"""Chapter 11, exercise 11.7: a measure and a deal that give made-up numbers, known to the check.

So a mean and a verdict can be judged exactly, in whatever order an answer deals.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moe_teach.judging.exercise import require
from moe_teach.judging.reasons import Why

VERDICTS = ("nothing", "the token", "more than the token")
KEYS = ("bits", "by chance", "by the token", "verdict")
_KIND = 1000  # is added once to labels dealt among all, and twice to those dealt within the token


class Numbers(NamedTuple):
    """What is told of a layer: its bits, and what each deal of the two nulls gives."""

    bits: float
    by_chance: list[float]
    by_token: list[float]


def verdict_of(told: Numbers) -> str:
    """Return the verdict that these numbers ask for."""
    if told.bits <= max(told.by_chance):
        return VERDICTS[0]
    return VERDICTS[1 + (told.bits > max(told.by_token))]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def means(made_up: list[Numbers], summed: Callable[..., Any] = _mean) -> list[dict[str, Any]]:
    """Return the three numbers of each layer; another `summed` is a mistake."""
    return [
        {
            "bits": told.bits,
            "by chance": summed(told.by_chance),
            "by the token": summed(told.by_token),
        }
        for told in made_up
    ]


_SLIPS: tuple[tuple[Callable[..., Any], Why], ...] = (
    (max, Why("The nulls are the highest of their deals.", "The mean: sum(found) / n_deals.")),
    (sum, Why("The deals were added up.", "Divide by n_deals.")),
    (lambda values: values[0], Why("Only the first deal was read.", "The mean of all n_deals.")),
    (lambda values: values[-1], Why("Only the last deal was read.", "The mean of all n_deals.")),
)
_SWAPPED = Why("The two nulls are swapped.", "By the token: dealt among tokens that are the same.")


def mistaken(made_up: list[Numbers]) -> Iterator[tuple[list[dict[str, Any]], Why]]:
    """Give what each known mistake makes of these numbers, and its words."""
    yield means([Numbers(told.bits, told.by_token, told.by_chance) for told in made_up]), _SWAPPED
    for summed, why in _SLIPS:
        yield means(made_up, summed), why


def made_up_parts(
    tables: tuple[Tensor, ...], made_up: list[Numbers]
) -> dict[str, Callable[..., Any]]:
    """Return `information` and `shuffled` as in 11.1 and 11.2, for the layers of `tables`."""
    ids, tokens, _ = tables
    left = [
        [iter((told.bits,) * 99), iter(told.by_chance), iter(told.by_token)] for told in made_up
    ]

    def shuffled(labels: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
        is_within = torch.equal(given, tokens)
        require(
            is_within or len(given.unique()) == 1,
            "`shuffled` was given groups that are neither the tokens nor all in one.",
            cause="Another column was handed in, or two arguments changed places.",
            cure="shuffled(domains, torch.zeros_like(tokens), generator), and "
            "shuffled(domains, tokens, generator).",
            got=given,
        )
        return labels % _KIND + (2 if is_within else 1) * _KIND

    def information(expert_ids: Tensor, labels: Tensor, given: Tensor | None = None) -> float:
        _require_plain(expert_ids, given, ids)
        layer = next(i for i in range(ids.shape[1]) if torch.equal(expert_ids, ids[:, i]))
        number = next(left[layer][int(labels.max()) // _KIND], None)
        require(
            number is not None,
            f"Layer {layer} was measured with more deals than were asked for.",
            cause="The loop runs too often, or the deals of one layer were measured in another.",
            cure="for _ in range(n_deals), for each layer and each null.",
        )
        return number

    return {"information": information, "shuffled": shuffled}


def _require_plain(expert_ids: Tensor, given: Tensor | None, ids: Tensor) -> None:
    require(
        given is None,
        "`information` was asked with something given.",
        cause="The token is given to the deal, and not to the measure.",
        cure="information(ids, labels), for the bits and in both nulls.",
    )
    require(
        any(torch.equal(expert_ids, ids[:, i]) for i in range(ids.shape[1])),
        "`information` was asked about experts that are no layer's.",
        cause="Only first choices were read, layers were joined, or the axis is another one.",
        cure="expert_ids[:, layer] is (T, K).",
        expected=ids[:, 0],
        got=expert_ids,
    )
