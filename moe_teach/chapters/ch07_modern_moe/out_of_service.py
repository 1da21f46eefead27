"""Exercise 7.5: the rule when some experts, or whole groups of them, are out of service."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch07_modern_moe.deepseek_rule import Case, chosen, route
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import generator, require
from moe_teach.judging.reasons import Why

# A case, and how many experts of each group are in service.
LIVING: tuple[tuple[Case, tuple[int, ...]], ...] = (
    ((5, 4, 1, 2, 1), (0, 2)),
    ((7, 4, 2, 1, 1), (3,)),
    ((7, 6, 2, 3, 2), (2, 1, 1)),
    ((31, 12, 2, 4, 2), (1, 3, 0, 2)),
    ((31, 20, 3, 5, 3), (4, 1, 4, 1, 1)),
    ((7, 5, 2, 5, 3), (1, 1, 0, 1, 1)),
)


def inputs(case: Case, living: tuple[int, ...], seed: int, shift: float) -> dict[str, Any]:
    """Draw the arguments of a call in which `living` experts of each group are in service."""
    n_tokens, n_experts, top_k, n_groups, top_groups = case
    random, size = generator(seed), n_experts // n_groups
    alive = torch.zeros(n_groups, size, dtype=torch.bool)
    for group, count in enumerate(living):
        alive[group, torch.randperm(size, generator=random)[:count]] = True
    return {
        "logits": 2 * torch.randn(n_tokens, n_experts, generator=random),
        "expert_bias": 0.5 * torch.randn(n_experts, generator=random) + shift,
        "top_k": top_k,
        "n_groups": n_groups,
        "top_groups": top_groups,
        "gate_scale": 1.5,
        "alive": alive.flatten(),
    }


def _sum_of_two(members: Tensor) -> Tensor:
    return members.topk(min(2, members.shape[-1]), dim=-1).values.sum(dim=-1)


def _zero_for_the_dead(members: Tensor) -> Tensor:
    return _sum_of_two(members.masked_fill(members.isneginf(), 0.0))


def _closed_late(ranking: Tensor, alive: Tensor, **sizes: int) -> Tensor:
    """Rank the groups with the dead in them, and leave these out of the choice alone."""
    members = ranking.unflatten(-1, (sizes["n_groups"], -1))

    def worth(_: Tensor) -> Tensor:
        return _sum_of_two(members)

    return chosen(ranking, **sizes, worth=worth, alive=alive)


def _zeroed(ranking: Tensor, alive: Tensor, **sizes: int) -> Tensor:
    return chosen(ranking.masked_fill(~alive, 0.0), **sizes)


_SILENT = Why(
    "The logits of experts out of service are minus infinity. So their scores are 0, and they "
    "still rank by their bias.",
    "Close them in the ranking, after the bias was added.",
)
_SLIPS: tuple[tuple[Why, Callable[..., Tensor]], ...] = (
    (
        Why("`alive` has no effect on the choice.", "Close experts where `alive` is False."),
        lambda ranking, alive, **sizes: chosen(ranking, **sizes),
    ),
    (
        Why(
            "The groups were ranked with experts that are out of service.",
            "Leave these out before the worth of a group is taken.",
        ),
        _closed_late,
    ),
    (
        Why(
            "A group with a single expert in service was never opened: its second best is minus "
            "infinity, and so is the sum.",
            "Add the second best only where there is one.",
        ),
        lambda ranking, alive, **sizes: chosen(ranking, **sizes, worth=_sum_of_two, alive=alive),
    ),
    (
        Why(
            "An empty group counts as 0, and beats groups whose rankings are negative.",
            "A group without any expert in service is worth minus infinity.",
        ),
        lambda ranking, alive, **sizes: chosen(
            ranking, **sizes, worth=_zero_for_the_dead, alive=alive
        ),
    ),
    (
        Why(
            "Experts out of service rank as 0, and beat negative rankings.",
            "Close them with minus infinity.",
        ),
        _zeroed,
    ),
)


def require_living(answer: Any, seed: int) -> None:
    """Reject an answer that sends tokens to the wrong experts when some are out of service."""
    for shift in (2.0, -3.0):
        given = [inputs(*case, seed, shift) for case in LIVING]
        _require_living(answer, given)


def _require_living(answer: Any, given: list[dict[str, Any]]) -> None:
    got = [answer(**call) for call in given]
    expected = [route(**call) for call in given]
    wrong = [i for i in range(len(given)) if not close(got[i][1], expected[i][1])]
    if not wrong:
        first = next((i for i in range(len(given)) if not close(got[i][0], expected[i][0])), 0)
        require(
            close(got[first][0], expected[first][0]),
            "With experts out of service the right ones are chosen and weighed by other gates.",
            cause="Scores of experts that are out of service went into the sum.",
            cure="The gates of a token are the scores of its chosen experts over their own sum.",
            expected=expected[first][0],
            got=got[first][0],
            example=given[first],
        )
        return
    at, why = wrong[0], Why("", "")
    slips = [(words, [_slipped(slip, call) for call in given]) for words, slip in _SLIPS]
    for words, choices in [*slips, (_SILENT, [_silenced(call) for call in given])]:
        if all(close(got[i][1], choice) for i, choice in enumerate(choices)):
            why = words
            break
    dead = bool((~given[at]["alive"])[got[at][1]].any())
    require(
        False,
        "A token is sent to an expert that is out of service."
        if dead
        else "With experts out of service, these are not the experts that the rule chooses.",
        **why._asdict(),
        expected=expected[at][1],
        got=got[at][1],
        example=given[at],
    )


def _silenced(given: dict[str, Any]) -> Tensor:
    silent = given["logits"].masked_fill(~given["alive"], -torch.inf)
    return route(**{**given, "logits": silent, "alive": None})[1]


def _slipped(slip: Callable[..., Tensor], given: dict[str, Any]) -> Tensor:
    ranking = given["logits"].sigmoid() + given["expert_bias"]
    sizes = {name: given[name] for name in ("top_k", "n_groups", "top_groups")}
    return slip(ranking, given["alive"], **sizes)
