"""Exercise 3.6: how many tokens changed their experts?."""

from typing import Any

import torch

from moe_teach.judging.exercise import Exercise, generator, require

EXERCISE = Exercise(
    id="3.6",
    name="changed_share",
    title="How many tokens changed their experts?",
    points=1,
    difficulty=2,
    importance=3,
    minutes=10,
    hints=(
        "The experts of a token are a set: {3, 1} and {1, 3} are the same choice. Bring both into "
        "one order, then compare.",
        "Sort each row of both tensors. A token changed if *any* of its entries differ.",
        "differs = a.sort(dim=-1).values != b.sort(dim=-1).values; the share is "
        "differs.any(dim=-1).float().mean().item(), and 0.0 where there are no tokens.",
    ),
    explanation="Sorting gives every set one spelling. Two near-equal scores often trade places "
    "inside the chosen k; that changes nothing about who computes, so counting it would overstate "
    "the damage.",
)


def _kind(value: Any) -> str:
    return "a tensor" if isinstance(value, torch.Tensor) else f"of type {type(value).__name__}"


def _choices(n_tokens: int, n_experts: int, top_k: int, seed: int) -> torch.Tensor:
    return torch.rand(n_tokens, n_experts, generator=generator(seed)).argsort(dim=-1)[:, :top_k]


@EXERCISE.stage("a number")
def _changed_number(answer: Any, seed: int) -> None:
    ids = _choices(3, 5, 2, seed)
    got = answer(ids, ids)
    require(
        isinstance(got, float),
        f"The share is a plain Python float, not {_kind(got)}. A number of tokens still has to be "
        "divided by all of them, and `.item()` turns a tensor with one entry into a number.",
        expected=0.0,
        got=got,
        example={"expert_ids_a": ids, "expert_ids_b": ids},
    )
    require(
        got == 0.0,
        "A routing compared with itself: nothing changed, so the share is 0.0. Is it the share of "
        "the *unchanged*? Or are there sets of tensors, which never find each other equal "
        "(`.tolist()` first)?",
        expected=0.0,
        got=got,
        example={"expert_ids_a": ids, "expert_ids_b": ids},
    )


@EXERCISE.stage("order")
def _changed_order(answer: Any, seed: int) -> None:
    for n_tokens, top_k in ((1, 2), (5, 3)):
        ids = _choices(n_tokens, 7, top_k, seed)
        got = answer(ids, ids.flip(-1))
        require(
            got == 0.0,
            "The same experts in another order are the same choice, and none of these tokens "
            "changed. Compare sets, not positions.",
            expected=0.0,
            got=got,
            example={"expert_ids_a": ids, "expert_ids_b": ids.flip(-1)},
        )


@EXERCISE.stage("share")
def _changed_share(answer: Any, seed: int) -> None:
    tricky = (torch.tensor([[0, 3]]), torch.tensor([[1, 2]]))
    pairs = [tricky]
    for n_tokens, n_experts, top_k in ((3, 4, 1), (5, 4, 2), (11, 5, 3)):
        mine = _choices(n_tokens, n_experts, top_k, seed)
        pairs.append((mine, _choices(n_tokens, n_experts, top_k, seed + 1)))
    for mine, other in pairs:
        sets = [
            set(one) != set(two) for one, two in zip(mine.tolist(), other.tolist(), strict=True)
        ]
        got = answer(mine, other)
        require(
            isinstance(got, float) and abs(got - sum(sets) / len(sets)) < 1e-6,
            "The share of changed tokens is off. A token counts once, as soon as any of its "
            "experts differ, and all its choices matter, not only the first or their sum.",
            expected=sum(sets) / len(sets),
            got=got,
            example={"expert_ids_a": mine, "expert_ids_b": other},
        )


@EXERCISE.stage("no tokens")
def _changed_nothing(answer: Any, seed: int) -> None:
    none = torch.empty(0, 2, dtype=torch.long)
    got = answer(none, none)
    require(
        isinstance(got, float) and got == 0.0,
        "Without tokens nothing changed: return 0.0. The mean of nothing is NaN.",
        expected=0.0,
        got=got,
        example={"expert_ids_a": none, "expert_ids_b": none},
    )
