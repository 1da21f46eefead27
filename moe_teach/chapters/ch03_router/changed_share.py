"""Exercise 3.6: how many tokens changed their experts?."""

from typing import Any

import torch
from torch import Tensor

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
    return "a tensor" if isinstance(value, Tensor) else f"of type {type(value).__name__}"


def _choices(n_tokens: int, n_experts: int, top_k: int, seed: int) -> Tensor:
    return torch.rand(n_tokens, n_experts, generator=generator(seed)).argsort(dim=-1)[:, :top_k]


@EXERCISE.stage("a number")
def _changed_number(answer: Any, seed: int) -> None:
    ids = _choices(3, 5, 2, seed)
    got = answer(ids, ids)
    require(
        isinstance(got, float),
        f"The share is a plain Python float, not {_kind(got)}.",
        cause="A mean is a tensor with one entry, a comparison a truth value, and a number of "
        "tokens still has to be divided by all of them.",
        cure="`.item()` turns a tensor with one entry into a number.",
        expected=0.0,
        got=got,
        example={"expert_ids_a": ids, "expert_ids_b": ids},
    )
    require(
        got == 0.0,
        "A routing compared with itself: nothing changed, and the share is not 0.0.",
        cause="It is the share of the *unchanged*, or sets of tensors were compared, which never "
        "find each other equal.",
        cure="Ask for `!=`, not `==`; for sets, take `.tolist()` first.",
        expected=0.0,
        got=got,
        example={"expert_ids_a": ids, "expert_ids_b": ids},
    )


@EXERCISE.stage("order")
def _changed_order(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in ((1, 7, 2), (5, 7, 3), (4, 150, 6)):
        ids = _choices(n_tokens, n_experts, top_k, seed)
        shuffled = ids[:, torch.randperm(top_k, generator=generator(seed))]
        for other in (ids.flip(-1), shuffled):
            got = answer(ids, other)
            require(
                got == 0.0,
                "The same experts in another order are the same choice, and none of these tokens "
                "changed.",
                cause="Positions are compared, and not sets.",
                cure="Sort each row of both along the last dimension first, then compare.",
                expected=0.0,
                got=got,
                example={"expert_ids_a": ids, "expert_ids_b": other},
            )


def _require_share(
    answer: Any, mine: Tensor, other: Tensor, message: str, cause: str, cure: str
) -> None:
    sets = [set(one) != set(two) for one, two in zip(mine.tolist(), other.tolist(), strict=True)]
    got = answer(mine, other)
    require(
        isinstance(got, float) and abs(got - sum(sets) / len(sets)) < 1e-6,
        message,
        cause=cause,
        cure=cure,
        expected=sum(sets) / len(sets),
        got=got,
        example={"expert_ids_a": mine, "expert_ids_b": other},
    )


@EXERCISE.stage("share")
def _changed_share(answer: Any, seed: int) -> None:
    pairs = [(torch.tensor([[0, 3]]), torch.tensor([[1, 2]]))]
    for n_tokens, n_experts, top_k in ((3, 4, 1), (5, 4, 2), (11, 5, 3), (13, 40, 8)):
        mine = _choices(n_tokens, n_experts, top_k, seed)
        other = _choices(n_tokens, n_experts, top_k, seed + 1)
        some = torch.arange(n_tokens)[:, None] % 3 == 0
        pairs += [(mine, other), (mine, torch.where(some, other, mine.flip(-1)))]
        pairs.append((mine, mine.roll(1, dims=0)))
    for mine, other in pairs:
        _require_share(
            answer,
            mine,
            other,
            "This is not the share of changed tokens.",
            cause="A token counts once, as soon as any of its experts differ, and all its choices "
            "matter, not only the first or their sum. (A share is no count and no percentage.)",
            cure="Sort the rows of both, compare entry by entry, ask for `any` in each row, and "
            "take the mean.",
        )


# Different sets that one number for each set would confuse, and what they have in common.
LOOKALIKES = (
    ([1, 8], [4, 7], "equal sums of squares"),
    ([1, 6], [2, 3], "equal products"),
    ([1, 5, 6], [2, 3, 7], "equal sums and equal sums of squares"),
    ([1, 9, 10], [2, 3, 15], "equal sums and equal products"),
    ([0, 2, 5], [0, 3, 5], "the same first and last number"),
    ([1, 12], [11, 2], "the same digits"),
    ([1, 112], [11, 12], "the same digits in the same order"),
    ([0, 30], [1, 30], "a small number beside one so large that float32 forgets it as a bit"),
    ([3, 64], [3, 128], "a number past 63, for which 64 bits have no place"),
    ([5, 33], [5, 65], "a number past 31, for which 32 bits have no place"),
    ([7, 44], [7, 300], "numbers that are the same once they are cut to 8 bits"),
    ([7, 2**24], [7, 2**24 + 1], "numbers past 2^24, of which float32 holds every second"),
    ([7, 5], [7, 2**32 + 5], "numbers that are the same once they are cut to 32 bits"),
    *(
        ([base + 1, base + 9], [1, base + 10], f"the same value as digits in base {base}")
        for base in (10, 16, 32, 64, 100, 128, 256, 1_000)
    ),
)


@EXERCISE.stage("large numbers")
def _changed_lookalikes(answer: Any, seed: int) -> None:
    for one, other, alike in LOOKALIKES:
        _require_share(
            answer,
            torch.tensor([one]),
            torch.tensor([other]),
            f"These two sets have {alike}, and they are different all the same.",
            cause="One number stands for a whole set, or the experts' numbers lost digits on the "
            "way to a comparison.",
            cure="Compare the experts themselves, whatever their numbers.",
        )


@EXERCISE.stage("no tokens")
def _changed_nothing(answer: Any, seed: int) -> None:
    none = torch.empty(0, 2, dtype=torch.long)
    got = answer(none, none)
    require(
        isinstance(got, float) and got == 0.0,
        "Without tokens nothing changed, and the share is not 0.0.",
        cause="The mean of nothing is NaN.",
        cure="Ask for this case first, and return 0.0.",
        expected=0.0,
        got=got,
        example={"expert_ids_a": none, "expert_ids_b": none},
    )
