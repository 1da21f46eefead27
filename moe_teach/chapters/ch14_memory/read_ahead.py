"""Chapter 14, exercise 14.3: run the next layer's router early, and say whom to read."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, generator, require
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="14.3",
    name="read_ahead",
    title="Whom to read ahead",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    hints=(
        "Two halves. First what the next layer would do if nothing were added to x any more: its "
        "norm, its router, its softmax, its choice by probability plus bias. Then a list: who is "
        "guessed, by how many tokens, and who of them is missing.",
        "`topk(n_guesses)` of probs + bias gives (T, G) ids. `bincount` counts the votes; a second "
        "`bincount` with `weights=` adds up the probabilities of the guesses. Sort experts with "
        "votes by (-votes, -sum).",
        "h = x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * norm_weight; probs = (h @ "
        "w_router.T).softmax(-1); ids = (probs + expert_bias).topk(n_guesses).indices; votes = "
        "ids.flatten().bincount(minlength=E); mass = zeros(E).index_add(0, ids.flatten(), "
        "probs.gather(-1, ids).flatten()); wanted = sorted(those with votes, key=lambda e: "
        "(-votes[e], -mass[e])); return [e for e in wanted if e not in here][:room].",
    ),
    explanation="The residual stream changes slowly: each layer adds a little to what is there. So "
    "the next router, run on today's stream, is right more often than any rule that does not look "
    "at the token, and it costs one small matrix product. The norm matters because the router was "
    "trained behind it, and the selection bias because it decides near ties. Who asks for a whole "
    "batch must put first whom most tokens will wait for: the memory for guesses is short, and a "
    "wrong guess costs a read and, where memory is full, somebody else's place.",
)

SIZES = ((1, 5, 4, 1), (1, 8, 8, 3), (3, 7, 9, 2), (17, 16, 11, 2), (40, 12, 16, 4))  # T, D, E, G


def case(sizes: tuple[int, int, int, int], seed: int) -> dict[str, Any]:
    """Draw a stream, a norm whose weights differ, a router and a bias that matters."""
    n_tokens, d_model, n_experts, n_guesses = sizes
    random = generator(seed + 31 * n_tokens)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    return {
        # Some tokens so quiet that the 1e-5 under the root is what counts.
        "x": draw(n_tokens, d_model)
        * 10.0 ** torch.randint(-3, 2, (n_tokens, 1), generator=random),
        "norm_weight": 0.2 + draw(d_model).abs(),
        "w_router": draw(n_experts, d_model) / d_model**0.5,
        "expert_bias": 0.15 * draw(n_experts),
        "n_guesses": n_guesses,
        "here": set(),
        "room": n_experts,
    }


def guessed(given: dict[str, Any], slip: str = "") -> list[int]:
    """Give the experts in the order of their urgency, all of them; `slip` names a mistake."""
    x, n_guesses = given["x"], given["n_guesses"]
    h = x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * given["norm_weight"]
    if slip == "no norm":
        h = x
    elif slip == "no weight":
        h = h / given["norm_weight"]
    elif slip == "layer norm":
        h = torch.nn.functional.layer_norm(x, x.shape[-1:]) * given["norm_weight"]
    logits = h @ given["w_router"].T
    probs = logits.softmax(-1)
    bias = 0 if slip == "no bias" else given["expert_bias"]
    ids = ((logits if slip == "logits" else probs) + bias).topk(n_guesses).indices
    if slip == "mean":
        ids = (probs + bias).mean(0).topk(n_guesses).indices[None].expand(len(x), -1)
    mass = torch.zeros(probs.shape[-1]).index_add(0, ids.flatten(), probs.gather(-1, ids).flatten())
    votes = ids.flatten().bincount(minlength=probs.shape[-1])
    orders = {
        "numbers": lambda e: e,
        "mass first": lambda e: -float(mass[e]),
        "votes only": lambda e: -int(votes[e]),
        "reversed": lambda e: (int(votes[e]), float(mass[e])),
    }
    order = orders.get(slip, lambda e: (-int(votes[e]), -float(mass[e])))
    return sorted((e for e in range(len(votes)) if votes[e]), key=order)


def _checked(answer: Any, given: dict[str, Any]) -> list[int]:
    got = answer(**given)
    require(
        isinstance(got, list) and all(type(e) is int for e in got),
        "The answer must be a list of plain integers, the numbers of experts.",
        cause="Entries of a tensor are tensors.",
        cure="`.tolist()` before you make the list.",
        got=got,
        example=given,
    )
    require(
        len(set(got)) == len(got),
        "An expert is named twice, and would be read twice.",
        cause="Several tokens guess the same one.",
        cure="Each expert once: `dict.fromkeys`, or count the votes.",
        got=got,
        example=given,
    )
    return got


_SLIPS = {
    "no norm": Why("The router got the stream without its norm, as it never did in training.",
                   "Divide each token by the root of the mean of its squares first."),
    "no weight": Why("The norm has a weight for each feature, and it was left out.",
                     "Multiply by `norm_weight` after dividing."),
    "layer norm": Why("This norm takes off a mean, which an RMS norm does not.",
                      "x / sqrt(mean(x ** 2) + 1e-5) * norm_weight."),
    "no bias": Why("The choice was made without the selection bias.",
                   "Take the largest of `probs + expert_bias`."),
    "logits": Why("The bias was added to the logits.",
                  "It belongs to the probabilities: softmax first."),
}  # fmt: skip
_ELSE = Why(
    "Something between x and the choice is another step than the next layer's own.",
    "Norm, router, softmax, plus bias, topk.",
)


def _demand(
    answer: Any, cases: list[dict[str, Any]], said: str, slips: Any, otherwise: Why
) -> None:
    """Ask for all cases, and name the one mistake that explains every answer, if there is one."""
    answers = [(given, guessed(given), _checked(answer, given)) for given in cases]
    ordered = "mean" in slips

    def same(one: list[int], other: list[int]) -> bool:
        return one == other if ordered else sorted(one) == sorted(other)

    def explains(slip: str) -> bool:
        return all(same(got, guessed(given, slip)) for given, _, got in answers)

    for given, expected, got in answers:
        if not same(got, expected):
            why = next((slips[slip] for slip in slips if explains(slip)), otherwise)
            require(False, said, **why._asdict(), expected=expected, got=got, example=given)


@EXERCISE.stage("one token")
def _ahead_one(answer: Any, seed: int) -> None:
    cases = [case(sizes, 100 * seed + draw) for sizes in SIZES[:2] for draw in range(12)]
    said = "For one token these are not the experts that the next layer would choose."
    _demand(answer, cases, said, _SLIPS, _ELSE)


_ORDERS = {
    "numbers": Why("They come in the order of their numbers.", "The most urgent first."),
    "mass first": Why("They are sorted by the sum of their probabilities alone.",
                      "First by how many tokens guess them."),
    "votes only": Why("Of those with equally many votes the larger sum of probabilities comes "
                      "first.", "Sort by (-votes, -sum)."),
    "reversed": Why("The least urgent comes first.", "Sort by (-votes, -sum)."),
    "mean": Why("One guess was made for the mean of all tokens.", "Each token guesses for itself."),
}  # fmt: skip


@EXERCISE.stage("a batch")
def _ahead_batch(answer: Any, seed: int) -> None:
    cases = [case(sizes, 100 * seed + draw) for sizes in SIZES[2:] for draw in range(4)]
    said = "For several tokens these are not the guessed experts, the most urgent first."
    otherwise = Why(
        "A vote is a token that has the expert among its guesses; the sums are over those tokens "
        "alone.",
        "Count with `bincount`, add up with `index_add`.",
    )
    _demand(answer, cases, said, _ORDERS, otherwise)


@EXERCISE.stage("who is missing")
def _ahead_missing(answer: Any, seed: int) -> None:
    for sizes in SIZES[2:]:
        given = case(sizes, seed)
        everybody = guessed(given)
        here, room = set(everybody[::2]) | {0}, max(1, len(everybody) // 3)
        missing = [e for e in everybody if e not in here]
        for allowed in (room, 0, sizes[2]):
            given |= {"here": here, "room": allowed}
            got, early = _checked(answer, given), everybody[:allowed]
            cause = "No more than `room` experts may be read, and none that is there already."
            if got == [e for e in early if e not in here]:
                cause = "The list was cut before those who are there were taken out."
            elif here & set(got):
                cause = "An expert that is in memory is read again."
            elif len(got) > allowed:
                cause = "More experts than there is room for."
            require(
                got == missing[:allowed],
                f"With {sorted(here)} in memory and room for {allowed}, another list is right.",
                cause=cause,
                cure="`[e for e in wanted if e not in here][:room]`.",
                expected=missing[:allowed],
                got=got,
                example=given,
            )


@EXERCISE.stage("large numbers")
def _ahead_large(answer: Any, seed: int) -> None:
    for draw in range(5):
        given = case((1, 8, 7, 2), 100 * seed + draw)
        given["w_router"] *= 300
        expected, got = guessed(given), _checked(answer, given)
        require(
            sorted(got) == sorted(expected),
            "With a router that is very sure of itself the guesses are others.",
            cause="exp(300) is infinite: a softmax written by hand has to subtract the maximum "
            "first.",
            cure="`.softmax(-1)`.",
            expected=expected,
            got=got,
            example=given,
        )
