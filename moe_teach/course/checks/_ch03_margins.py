"""Chapter 03, exercises 3.5 and 3.6: how close a choice was, and how often it changed."""

from contextlib import suppress
from typing import Any

import torch

from moe_teach.judging.compare import close, require_tensors
from moe_teach.judging.exercise import Exercise, Words, generator, require

STABLE = Exercise(
    id="3.5",
    name="stable_topk_with_margin",
    title="Top-k with a tie rule and a margin",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "`topk` promises nothing about ties. A *stable* sort does: equal scores stay in the order "
        "in which they stood.",
        "`scores.sort(dim=-1, descending=True, stable=True)` gives values and indices (with "
        "`stable`, PyTorch wants `dim` by name too). The margin is the last "
        "chosen value minus the first one left out.",
        "values, order = the stable sort; expert_ids = order[:, :top_k]; the margin is "
        "values[:, top_k - 1] - values[:, top_k], or infinity for all tokens when top_k == E.",
    ),
    explanation="The margin tells how far a token stands from another choice. A test of two "
    "implementations compares the ids first, and only for tokens whose margin is larger than the "
    "rounding it tolerates; then it compares floats.",
)

# All experts chosen is the last stage's case: the margin needs a thought of its own there.
STABLE_SIZES = ((1, 2, 1), (2, 5, 2), (7, 11, 3), (3, 5, 4))


@STABLE.stage("shape")
def _stable_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in STABLE_SIZES:
        scores = torch.randn(n_tokens, n_experts, generator=generator(seed))
        got = answer(scores, top_k)
        require_tensors(got, ("expert_ids", "margin"), {"scores": scores, "top_k": top_k})
        ids, margin = got
        require(
            ids.shape == (n_tokens, top_k) and margin.shape == (n_tokens,),
            f"Return expert_ids of shape ({n_tokens}, {top_k}) and one margin per token, "
            f"({n_tokens},), in this order.",
            got=(ids, margin),
            example={"scores": scores, "top_k": top_k},
        )


@STABLE.stage("choice")
def _stable_choice(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in STABLE_SIZES:
        scores = torch.randn(n_tokens, n_experts, generator=generator(seed))
        # Two scores that differ in the last place only: still different.
        scores[0, -1] = torch.nextafter(scores[0, 0], torch.tensor(torch.inf))
        ids, _ = answer(scores, top_k)
        expected = scores.argsort(dim=-1, descending=True, stable=True)[:, :top_k]
        require(
            close(ids, expected),
            "Without any tie, the k largest scores must win, best first. If only the first token "
            "is wrong: two of its scores differ in the last digit, so do not break ties by "
            "changing scores.",
            expected=expected,
            got=ids,
            example={"scores": scores, "top_k": top_k},
        )


@STABLE.stage("ties")
def _stable_ties(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in (*STABLE_SIZES, (5, 23, 4)):
        scores = torch.randint(0, 3, (n_tokens, n_experts), generator=generator(seed)).float()
        ids, _ = answer(scores, top_k)
        expected = scores.argsort(dim=-1, descending=True, stable=True)[:, :top_k]
        require(
            close(ids, expected),
            "Among equal scores the expert with the lower number comes first. `topk`, and sorts "
            "that are not stable, pick whichever they meet.",
            expected=expected,
            got=ids,
            example={"scores": scores, "top_k": top_k},
        )


@STABLE.stage("margin")
def _stable_margin(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in ((1, 2, 1), (2, 5, 2), (7, 11, 3)):
        scores = torch.randn(n_tokens, n_experts, generator=generator(seed))
        scores[-1] = 0.5  # a token that cannot decide: margin 0
        _, margin = answer(scores, top_k)
        best = scores.sort(dim=-1, descending=True).values
        expected = best[:, top_k - 1] - best[:, top_k]
        require(
            close(margin, expected),
            "The margin is the score of the last chosen expert minus the score of the first one "
            "left out, number top_k + 1 in the order.",
            expected=expected,
            got=margin,
            example={"scores": scores, "top_k": top_k},
        )


@STABLE.stage("everyone chosen")
def _stable_everyone(answer: Any, seed: int) -> None:
    scores = torch.randn(3, 4, generator=generator(seed))
    example, expected = {"scores": scores, "top_k": 4}, torch.full((3,), torch.inf)
    margin: Any = None
    with suppress(IndexError):  # said below, in words
        _, margin = answer(scores, 4)
    require(
        margin is not None,
        "When every expert is chosen, no score comes after the last chosen one, and reading it "
        "fails. Ask for this case first: nothing can change the choice, so the margin is infinite.",
        expected=expected,
        got=Words("an IndexError"),
        example=example,
    )
    require(
        isinstance(margin, torch.Tensor)
        and margin.shape == (3,)
        and bool(torch.isposinf(margin).all()),
        "When every expert is chosen nothing can change the choice: the margin is infinite "
        "(`torch.inf`) for each token, a tensor of shape (T,) as always.",
        expected=expected,
        got=margin,
        example=example,
    )


CHANGED = Exercise(
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


@CHANGED.stage("a number")
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


@CHANGED.stage("order")
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


@CHANGED.stage("share")
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


@CHANGED.stage("no tokens")
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
