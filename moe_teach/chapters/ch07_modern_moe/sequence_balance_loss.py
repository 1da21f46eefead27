"""Chapter 07, exercise 7.6: the balancing loss of every sequence."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_tensor
from moe_teach.judging.gradients import require_gradients
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="7.6",
    name="sequence_balance_loss",
    title="Balance inside every sequence",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("6.1",),
    hints=(
        "It is the loss of chapter 06, computed for each sequence alone, and the mean of these. So "
        "the axis of sequences stays until the very end.",
        "`one_hot(expert_ids, E)` is (B, S, K, E). Sum over S and K and divide by S * K: the load "
        "of each sequence, (B, E). The probabilities: divide by their sum over E, mean over S.",
        "load = one_hot(expert_ids, E).sum(dim=(1, 2)) / (S * K); shares = probs / "
        "probs.sum(-1, keepdim=True); return E * (load * shares.mean(1)).sum(-1).mean()",
    ),
    explanation="A mean over the batch lets sequences differ and only asks that they make up for "
    "each other; a mean over each sequence does not even let them differ. The second is stricter, "
    "and it is what a small micro-batch per machine does without anybody asking for it.",
)

SIZES = ((1, 1, 1, 1), (1, 4, 3, 1), (1, 5, 4, 2), (1, 7, 3, 3))  # B, S, E, K
MANY = ((2, 3, 4, 1), (3, 5, 7, 2), (5, 2, 3, 2), (3, 4, 23, 5), (4, 3, 3, 3))


def _inputs(sizes: tuple[int, ...], seed: int, sums_to_one: bool = True) -> dict[str, Tensor]:
    n_sequences, n_positions, n_experts, top_k = sizes
    random = generator(seed)
    logits = torch.randn(n_sequences, n_positions, n_experts, generator=random)
    # Every sequence has favourites of its own; otherwise all scopes would nearly agree.
    logits = logits + 2 * torch.randn(n_sequences, 1, n_experts, generator=random)
    probs = logits.softmax(dim=-1) if sums_to_one else logits.sigmoid()
    # As they come from a ranking that is cut off and from scores kept by expert: not in one piece.
    by_expert = probs.movedim(-1, 0).contiguous().movedim(0, -1)
    return {"probs": by_expert, "expert_ids": logits.argsort(-1, descending=True)[..., :top_k]}


def _load(expert_ids: Tensor, n_experts: int) -> Tensor:
    return one_hot(expert_ids, n_experts).float().mean(dim=(1, 2))


def _loss(load: Tensor, probs: Tensor) -> Tensor:
    return probs.shape[-1] * (load * probs.mean(dim=1)).sum(dim=-1).mean()


def _shares(probs: Tensor) -> Tensor:
    return probs / probs.sum(dim=-1, keepdim=True)


def _expected(probs: Tensor, expert_ids: Tensor) -> Tensor:
    return _loss(_load(expert_ids, probs.shape[-1]), _shares(probs))


def _judge(answer: Any, cases: Any, seed: int, tempting: Any, otherwise: str) -> None:
    for sizes in cases:
        given = _inputs(sizes, seed)
        expected, got = _expected(**given), answer(**given)
        shown = {"expected": expected, "got": got, "example": given}
        slips = [(slip(**given), why) for why, slip in tempting]
        require(close(got, expected), otherwise, **likely(got, expected, slips, OTHER), **shown)


OTHER = Why(
    "Another load, another mean, or another order of the two sums.",
    "It is E times the sum over experts of load x mean_probs, for each sequence; then the mean.",
)


@EXERCISE.stage("a scalar")
def _scalar(answer: Any, seed: int) -> None:
    for sizes in (*SIZES, *MANY):
        given = _inputs(sizes, seed)
        got = answer(**given)
        require_tensor(got, given)
        require(
            got.shape == (),
            "A loss is one number, and this is none, or has an axis.",
            cause="The sequences are still there.",
            cure="Average over the sequences at the end.",
            got=got,
            example=given,
        )


def _first_choice(probs: Tensor, expert_ids: Tensor) -> Tensor:
    return _loss(_load(expert_ids[..., :1], probs.shape[-1]), _shares(probs))


def _token_by_token(probs: Tensor, expert_ids: Tensor) -> Tensor:
    n_experts = probs.shape[-1]
    chosen = one_hot(expert_ids, n_experts).float().mean(dim=2)
    return n_experts * (chosen * _shares(probs)).sum(dim=-1).mean()


_TEMPTING = (
    (
        Why(
            "The factor E is missing.",
            "With it, an evenly spread sequence gives 1 for every number of experts.",
        ),
        lambda probs, expert_ids: _expected(probs, expert_ids) / probs.shape[-1],
    ),
    (
        Why(
            "This is K times too large: the counts were divided by S alone.",
            "`load` is a share of all S * K choices.",
        ),
        lambda probs, expert_ids: _expected(probs, expert_ids) * expert_ids.shape[-1],
    ),
    (
        Why(
            "This is S * K times too large: `load` is a share, and these are counts.",
            "Divide by the number of choices of a sequence.",
        ),
        lambda probs, expert_ids: _expected(probs, expert_ids) * expert_ids[0].numel(),
    ),
    (
        Why(
            "Choices and probabilities met token by token, before the means were taken.",
            "Average both over the sequence first, then multiply.",
        ),
        _token_by_token,
    ),
    (
        Why("Only the first choice of each token was counted.", "All K choices are load."),
        _first_choice,
    ),
    (
        Why(
            "This is load times load, and there is no gradient.",
            "One of the two factors is the mean of the probabilities.",
        ),
        lambda probs, expert_ids: (
            probs.shape[-1] * _load(expert_ids, probs.shape[-1]).square().sum(-1).mean()
        ),
    ),
)


@EXERCISE.stage("one sequence")
def _one_sequence(answer: Any, seed: int) -> None:
    otherwise = "For one sequence the loss is another number."
    _judge(answer, SIZES, seed, _TEMPTING, otherwise)


def _pooled(probs: Tensor, expert_ids: Tensor) -> Tensor:
    return _loss(_load(expert_ids, probs.shape[-1]).mean(0, True), _shares(probs).mean(0, True))


@EXERCISE.stage("several sequences")
def _several(answer: Any, seed: int) -> None:
    tempting = (
        (
            Why(
                "This is the loss of the whole batch: load and probabilities were averaged over "
                "the sequences before they met.",
                "Multiply within each sequence, then average.",
            ),
            _pooled,
        ),
        (
            Why(
                "The sequences were added up, and a larger batch is punished more.",
                "The loss is their *mean*.",
            ),
            lambda probs, expert_ids: _expected(probs, expert_ids) * len(probs),
        ),
    )
    otherwise = "With one sequence the loss is right, with several it is not."
    _judge(answer, MANY, seed, tempting, otherwise)


@EXERCISE.stage("sigmoid scores")
def _sigmoids(answer: Any, seed: int) -> None:
    for sizes in (*SIZES[1:], *MANY):
        given = _inputs(sizes, seed, sums_to_one=False)
        expected, got = _expected(**given), answer(**given)
        raw = _loss(_load(given["expert_ids"], sizes[2]), given["probs"])
        shown = {"expected": expected, "got": got, "example": given}
        require(
            close(got, expected) or not close(got, raw),
            "With scores that do not sum to one the loss is another number.",
            cause="The scores were used as they come, and the router lowers this loss by scoring "
            "everybody low.",
            cure="Divide each token's scores by their sum.",
            **shown,
        )
        softmaxed = _loss(_load(given["expert_ids"], sizes[2]), given["probs"].softmax(dim=-1))
        require(
            close(got, expected) or not close(got, softmaxed),
            "With scores that do not sum to one the loss is another number.",
            cause="A softmax of scores is another distribution.",
            cure="Divide by the sum.",
            **shown,
        )
        require(
            close(got, expected),
            "With scores that do not sum to one the loss is another number.",
            cause="They were divided by another sum, or after the mean over the tokens.",
            cure="Divide each token's scores by *their* sum, over the experts, before the mean "
            "over the tokens is taken.",
            **shown,
        )


@EXERCISE.stage("scores of any size")
def _any_size(answer: Any, seed: int) -> None:
    for sizes in (*SIZES[1:], *MANY):
        given = _inputs(sizes, seed, sums_to_one=False)
        sizes_of_tokens = 10 ** (6 * torch.rand(*sizes[:2], 1, generator=generator(seed)) - 4)
        given["probs"] = given["probs"] * sizes_of_tokens
        expected, got = _expected(**given), answer(**given)
        require(
            close(got, expected),
            "Scores of one token sum to 0.0001 here and of another to 100, and the loss is another "
            "one than for the same shares.",
            cause="Something is added to the sum of a token's scores, or it is held above a bound.",
            cure="Divide each token's scores by their own sum, as it is.",
            expected=expected,
            got=got,
            example=given,
        )


@EXERCISE.stage("gradient")
def _gradient(answer: Any, seed: int) -> None:
    for sizes in (*MANY, *SIZES):
        for sums_to_one in (True, False):
            require_gradients(answer, _expected, _inputs(sizes, seed, sums_to_one), seed=seed)
