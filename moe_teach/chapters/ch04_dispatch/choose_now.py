"""Chapter 04, exercise 4.9: choose without seeing the future."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import is_tensor, plain
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.goals import Goal

TOKENS, EXPERTS, CHOICES = 256, 8, 2
GOAL = Goal(
    quantity="probability served, as a share of what hindsight could serve",
    unit="%",
    baseline=70.4,
    target=90,
    more_is_better=True,
    limit="With hindsight it would be 100%; nobody who must choose now can count on that.",
    cause="An early token takes the last places of a popular expert, and a later one that nobody "
    "else could serve finds them gone.",
    cure="Let a place have a price that grows while an expert fills faster than the batch goes by, "
    "and choose by probability minus price.",
)
EXERCISE = Exercise(
    id="4.9",
    name="choose_now",
    title="Open task: choose without seeing the future",
    points=3,
    difficulty=4,
    importance=4,
    minutes=20,
    limit=30,
    goal=GOAL,
    hints=(
        "Let a token that has another expert nearly as good leave the popular one to others. How "
        "popular an expert is, `past` and `used` tell; how long the places must last, n_tokens.",
        "Fair is a pace: after t of n_tokens tokens, an expert should have given away the share "
        "t / n_tokens of its places. Charge an expert that is ahead of that pace, and choose the "
        "top_k best of what is left of `probs`.",
        "price = 5 * (used / capacity - len(past) / n_tokens).clamp(min=0); worth = (probs - "
        "price).masked_fill(used >= capacity, -1); take the top_k of `worth` that are above 0.",
    ),
    explanation="A price on the crowded experts is all it takes, and the token decides by itself. "
    "Prices of this kind are what mathematics calls the dual of the assignment problem: BASE "
    "layers (arXiv 2103.16716) solve that for a whole batch at once. DeepSeek-V3 keeps such a "
    "price for each expert and moves it a little after every batch: the bias of chapter 06. Better "
    "than a fixed rule is to find, in `past`, the prices at which the places left would just last.",
)


def draw_probs(seed: int, n_tokens: int = TOKENS, n_experts: int = EXPERTS) -> Tensor:
    """Draw router probabilities (T, E) of tokens that share a common part."""
    random = generator(seed)
    x = torch.randn(n_tokens, 16, generator=random) + 0.9 * torch.randn(16, generator=random)
    return (x @ torch.randn(16, n_experts, generator=random) / 2).softmax(dim=-1)


def hindsight(probs: Tensor, top_k: int, capacity: int, n_steps: int = 400) -> float:
    """Bound what any choice can serve that sees all tokens, from above.

    For any prices >= 0 on a place, no choice serves more than all places at their price and, for
    every token, the best top_k differences between probability and price (weak duality). The
    prices are lowered and raised until that sum is nearly as small as it can be.
    """
    price, least = torch.zeros(probs.shape[1]), float("inf")
    for step in range(n_steps):
        worth, ids = (probs - price).topk(top_k, dim=-1)
        least = min(least, float(capacity * price.sum() + worth.clamp(min=0).sum()))
        chosen = torch.bincount(ids[worth > 0], minlength=len(price))
        move = 0.3 / (1 + step) ** 0.7
        price = (price + move * (chosen - capacity) / max(capacity, 1)).clamp(min=0)
    return least


def _moments(
    answer: Callable[..., Any], probs: Tensor, top_k: int, capacity: int
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Let tokens choose one after the other; give each answer, and what it was told."""
    used = [0] * probs.shape[1]
    for t, own in enumerate(probs):
        told = {
            "probs": own,
            "past": probs[:t],
            "used": torch.tensor(used),
            "capacity": capacity,
            "n_tokens": len(probs),
            "top_k": top_k,
        }
        got = answer(**_copies(told))
        yield got, told
        for expert in got.tolist():
            used[expert] += 1


def _copies(told: dict[str, Any]) -> dict[str, Any]:
    """Copy what an answer is handed: a view would lead to the tokens that are still to come."""
    return {name: value.clone() if is_tensor(value) else value for name, value in told.items()}


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, "past": Words(f"{len(told['past'])} tokens")}


# tokens, experts, choices, capacity: awkward ones, with no room at all and with too much of it
SIZES = ((1, 1, 1, 1), (5, 3, 3, 1), (7, 3, 2, 0), (17, 5, 2, 7), (29, 4, 1, 100))


@EXERCISE.stage("what comes back")
def _form(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k, capacity in SIZES:
        probs = draw_probs(seed, n_tokens, n_experts)
        for got, told in _moments(answer, probs, top_k, capacity):
            shown = _shown(told)
            require_tensor(got, shown)
            require(
                got.dim() == 1 and got.dtype == torch.long,
                "The experts of this token are asked for: one axis, in int64, and no entry where "
                "nobody is chosen.",
                cause="This is one number, a mask, or the values of `topk` in the place of its "
                "indices.",
                cure="`worth.topk(top_k)` gives values and indices: return the indices.",
                got=got,
                example=shown,
            )
            _require_honest(got, told, n_experts)


def _require_honest(got: Tensor, told: dict[str, Any], n_experts: int) -> None:
    """Reject choices that do not exist, stand twice, are too many, or find no place."""
    ids, used = got.tolist(), told["used"].tolist()
    are_experts = all(0 <= e < n_experts for e in ids) and len(set(ids)) == len(ids)
    full = [e for e in ids if used[e] >= told["capacity"]] if are_experts else []
    if are_experts and len(ids) <= told["top_k"] and not full:
        return
    facts = {"got": got, "example": _shown(told)}
    require(
        are_experts,
        f"The experts of a token are different ones, from 0 to {n_experts - 1}.",
        **facts,
    )
    require(
        len(ids) <= told["top_k"],
        "This token takes more than top_k experts.",
        cause="Everybody with room was taken.",
        cure="Take at most top_k.",
        **facts,
    )
    require(
        False,
        f"Expert {full[0]} has no place left, and this token takes one.",
        cause="`used` says how many places each expert has given away.",
        cure="Leave out the experts with used >= capacity, and return fewer.",
        **facts,
    )


@EXERCISE.stage("the same again")
def _memory(answer: Any, seed: int) -> None:
    probs = draw_probs(seed, 31, 4)
    moments = list(_moments(answer, probs, 2, 9))
    for got, told in reversed(moments):
        again = answer(**_copies(told))
        require(
            torch.equal(got, again),
            "Asked the same a second time, it chooses otherwise.",
            cause="It remembers earlier calls, or draws by lot.",
            cure="All that a choice may depend on are its arguments.",
            expected=got,
            got=again,
            example=_shown(told),
        )


def _unwatched(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Ask without the watch, which has seen the stages and takes longer than most answers.

    Whoever does here what a watch objects to is asked again, under it: it has the words.
    """
    bare = getattr(answer, "__wrapped__", answer)

    def ask(**told: Any) -> Any:
        given = _copies(told)
        try:
            got = bare(**given)
        except Exception:
            got = None
        is_in_order = is_tensor(got) and all(map(_is_as_told, given.values(), told.values()))
        return plain(got) if is_in_order else answer(**told)

    return ask


def _is_as_told(given: Any, told: Any) -> bool:
    return not is_tensor(told) or (given.equal(told) and not given.requires_grad)


@GOAL.measure
def _served(answer: Any, seed: int) -> float:
    served, best = 0.0, 0.0
    for part in (100 + 2 * seed, 101 + 2 * seed):
        probs, capacity, chosen = draw_probs(part), TOKENS * CHOICES // EXPERTS, []
        for got, told in _moments(_unwatched(answer), probs, CHOICES, capacity):
            _require_honest(got, told, EXPERTS)
            chosen.append(got)
        served = sum(_taken(probs, chosen), served)
        best += _best(part)
    return 100 * served / best


def _taken(probs: Tensor, chosen: list[Tensor]) -> list[float]:
    """Give the probability that each token's choices serve."""
    token = torch.arange(len(probs)).repeat_interleave(torch.tensor(list(map(len, chosen))))
    return probs.new_zeros(len(probs)).index_add(0, token, probs[token, torch.cat(chosen)]).tolist()


@lru_cache(maxsize=16)
def _best(seed: int) -> float:
    """What hindsight serves of a seed's tokens, whoever is measured by it."""
    return hindsight(draw_probs(seed), CHOICES, TOKENS * CHOICES // EXPERTS)
