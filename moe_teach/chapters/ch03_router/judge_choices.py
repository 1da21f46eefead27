"""Chapter 03, exercise 3.6: could rounding have made this choice, or is it a mistake?"""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor

BEST, ROUNDING, MISTAKE = 0, 1, 2

EXERCISE = Exercise(
    id="3.6",
    name="judge_choices",
    title="Rounding, or a mistake?",
    points=2,
    difficulty=4,
    importance=4,
    minutes=20,
    version=2,
    needs=("3.5",),
    hints=(
        "Look at the choice that was made, not at the one you would have made. Two experts decide: "
        "the weakest of those that were chosen, and the strongest of those left out.",
        "gap = strongest left out - weakest chosen. Without a gap above 0 the choice is a best "
        "one. Rounding can lower the one by delta and raise the other by delta.",
        "is_chosen = zeros of bools, scatter True at expert_ids; inside = logits where not chosen "
        "filled with inf, amin; outside = logits where chosen filled with -inf, amax; gap = "
        "outside - inside; the verdict is (gap > 0).long() + (gap > 2 * delta).long().",
    ),
    explanation="A set of experts is what some logits within delta of yours would choose exactly "
    "if its weakest member, raised by delta, reaches the strongest outsider, lowered by delta. The "
    "margin of a token cannot say this: a token may stand on the edge between two experts, and the "
    "other implementation may have chosen a third one, which is a mistake all the same.",
)

Case = tuple[Tensor, Tensor, Tensor]  # logits, expert_ids, delta

_WITHIN = ("within", "One delta was counted where two meet.")
_BORDER = (
    "exactly at the border of",
    "The border was counted among the mistakes, or one delta only.",
)
_BEYOND = ("beyond", "More than two deltas were allowed, or every small gap.")

# tokens, experts, choices
SIZES = ((1, 2, 1), (3, 5, 2), (5, 4, 4), (7, 11, 3), (2, 3, 1), (11, 13, 5))


def _expected(logits: Tensor, expert_ids: Tensor, delta: Tensor) -> list[int]:
    """Judge token by token, in plain Python."""
    verdicts = []
    for row, ids, far in zip(logits.tolist(), expert_ids.tolist(), delta.tolist(), strict=True):
        inside = min(row[e] for e in ids)
        outside = max([value for e, value in enumerate(row) if e not in ids], default=-torch.inf)
        gap = outside - inside
        verdicts.append(BEST if gap <= 0 else ROUNDING if gap <= 2 * far else MISTAKE)
    return verdicts


def _grid(n_tokens: int, n_experts: int, seed: int) -> Tensor:
    """Draw logits in steps of a sixteenth, all different in a row: gaps are exact numbers."""
    order = torch.rand(n_tokens, n_experts, generator=generator(seed)).argsort(dim=-1)
    return (order - n_experts // 2) / 16


def _best(logits: Tensor, top_k: int) -> Tensor:
    return logits.argsort(dim=-1, descending=True, stable=True)[:, :top_k]


def _swapped(n_tokens: int, n_experts: int, top_k: int, rank: int, seed: int) -> Case:
    """Give a choice whose last expert was exchanged for the one of this rank, best first."""
    logits = _grid(n_tokens, n_experts, seed)
    order = logits.argsort(dim=-1, descending=True)
    ids = order[:, [*range(top_k - 1), rank]]
    return logits, ids, torch.full((n_tokens,), 1 / 16)


def _require(answer: Any, case: Case, message: str, cause: str, cure: str) -> None:
    logits, ids, delta = case
    example = {"logits": logits, "expert_ids": ids, "delta": delta}
    got, expected = answer(*case), torch.tensor(_expected(*case))
    require(
        close(got, expected),
        message,
        cause=cause,
        cure=cure,
        expected=expected,
        got=got,
        example=example,
    )


@EXERCISE.stage("form")
def _judge_form(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = _grid(n_tokens, n_experts, seed)
        given = {
            "logits": logits,
            "expert_ids": _best(logits, top_k),
            "delta": torch.full((n_tokens,), 1 / 16),
        }
        got = answer(**given)
        require_tensor(got, given)
        require(
            got.shape == (n_tokens,) and got.dtype not in (torch.bool, torch.float32),
            "The verdicts are one integer for each token: 0, 1 or 2.",
            cause="They came as truth values or floats, or one for each choice.",
            cure="Add two comparisons as integers, `.long()`, one number for each token.",
            expected=Words(f"integers of shape ({n_tokens},)"),
            got=got,
            example=given,
        )


@EXERCISE.stage("the best choice")
def _judge_best(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits, delta = _grid(n_tokens, n_experts, seed), torch.full((n_tokens,), 1 / 16)
        ids = _best(logits, top_k)
        for shown in (ids, ids.flip(-1)):
            _require(
                answer,
                (logits, shown, delta),
                "These are the k best experts of every token, and a verdict is not 0.",
                "The order within a row was compared, or with K = E somebody was looked for who "
                "was left out.",
                "Ask whether anybody outside is above anybody inside; minus infinity is below all.",
            )
    tied = torch.tensor([[0.5, 0.25, 0.25]])
    _require(
        answer,
        (tied, torch.tensor([[0, 2]]), torch.zeros(1)),
        "Two logits are equal. Either expert may be chosen, and a verdict is not 0.",
        "The choice was compared with that of one `topk`.",
        "Compare logits, not numbers of experts: a gap of 0 is no gap.",
    )


@EXERCISE.stage("neighbours")
def _judge_near(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        if top_k == n_experts:
            continue
        logits, ids, delta = _swapped(n_tokens, n_experts, top_k, top_k, seed)
        for far, says, cause in (
            (delta * 0.75, *_WITHIN),
            (delta / 2, *_BORDER),
            (delta / 4, *_BEYOND),
        ):
            _require(
                answer,
                (logits, ids, far),
                f"The last expert was exchanged for its neighbour, 1/16 below: {says} what "
                "rounding can explain.",
                cause,
                "One logit may rise by delta while the other falls by delta: a gap of 2 · delta "
                "can still be rounding.",
            )


@EXERCISE.stage("not the neighbour")
def _judge_far(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in ((1, 5, 2), (7, 11, 3), (3, 13, 5)):
        for rank in (top_k + 1, n_experts - 1):
            _require(
                answer,
                _swapped(n_tokens, n_experts, top_k, rank, seed),
                "The margin of these tokens is small, and yet rounding cannot explain what was "
                "chosen.",
                "The margin between the last of the best k and the first left out was judged, "
                "whoever was really chosen.",
                "Judge the choice that was made: its weakest member against the strongest expert "
                "outside it.",
            )
        logits, ids, delta = _swapped(n_tokens, n_experts, top_k, top_k, seed)
        ids = torch.cat([ids[:, -1:], ids[:, :-1]], dim=-1)  # the odd one stands first
        logits = logits.scatter_add(1, ids[:, :1], torch.full((n_tokens, 1), -1.0))
        _require(
            answer,
            (logits, ids, delta),
            "An expert far below the others was chosen, and stands first in its row.",
            "The last column was taken for the weakest choice.",
            "Take the smallest logit of all the chosen ones: rows may stand in any order.",
        )


@EXERCISE.stage("far from zero")
def _judge_shifted(answer: Any, seed: int) -> None:
    for shift in (-1000.0, 1000.0):
        for rank in (1, 2, 5):
            logits, ids, delta = _swapped(3, 7, 2, rank, seed)
            _require(
                answer,
                (logits + shift, ids, delta),
                f"All logits moved by {shift:g}, which changes no gap, and a verdict changed.",
                "Some number stands for nobody, and is larger or smaller than these logits.",
                "Only infinity is out of every logit's way: torch.inf among the chosen, -torch.inf "
                "among the others.",
            )


@EXERCISE.stage("each token its own delta")
def _judge_delta(answer: Any, seed: int) -> None:
    logits, ids, _ = _swapped(5, 7, 2, 2, seed)
    delta = torch.tensor([0.0, 1 / 64, 1 / 32, 1 / 16, 4.0])
    _require(
        answer,
        (logits, ids, delta),
        "With another delta for each token the verdicts are others.",
        "One delta, the largest or the mean, was used for all.",
        "Compare token by token: gap (T,) against 2 * delta (T,).",
    )
    random = generator(seed)
    for scale in (1e-4, 1.0, 1e4):
        drawn = scale * torch.randn(9, 6, generator=random)
        chosen = torch.rand(9, 6, generator=random).argsort(dim=-1)[:, :2]
        _require(
            answer,
            (drawn, chosen, scale * torch.rand(9, generator=random)),
            f"On logits of the size of {scale:g} some verdicts are others.",
            "A tolerance was added, or only the first and the last choice were looked at.",
            "Compare gap > 0 and gap > 2 * delta, with nothing added.",
        )
