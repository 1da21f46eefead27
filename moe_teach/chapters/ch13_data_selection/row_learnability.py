"""Chapter 13, exercise 13.1: what is still to be learned from each row of a batch."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch13_data_selection.row_scores import SLIPS, scored
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_tensor
from moe_teach.judging.reasons import Why, likely

EXERCISE = Exercise(
    id="13.1",
    name="row_learnability",
    title="The score of a row",
    points=1,
    difficulty=2,
    importance=5,
    minutes=10,
    hints=(
        "Two cross-entropies, one subtraction and a mean that knows how many targets a row asks "
        "for. Whose loss stands first says which rows win.",
        "`F.cross_entropy` takes the classes on axis 1: (B, V, S). `ignore_index=-100` and "
        '`reduction="none"` give a loss for each position, 0 where nothing is asked. Count what '
        "is asked for in each row.",
        "def losses(logits): return F.cross_entropy(logits.detach().float().transpose(1, 2), "
        'targets, ignore_index=-100, reduction="none"); n_asked = (targets != -100).sum(1); return '
        "(losses(learner_logits) - losses(reference_logits)).sum(1) / n_asked.clamp(min=1).",
    ),
    explanation="Noise is hard for both models and what is known is easy for both, so that neither "
    "scores high: what is left is what the learner does not know and somebody of its kind could "
    "learn. The mean over real targets keeps a short row comparable with a long one; divided by "
    "the padded length, a row of ten tokens would never be chosen. A score decides who is read and "
    "is no part of what is learned, so it carries no gradient, and it is computed in float32: the "
    "difference of two losses of nearly equal size is where eight bits are lost first.",
)

SIZES = ((1, 1, 2), (1, 7, 5), (5, 3, 11), (7, 13, 3), (3, 17, 31))  # B, S, V


def case(sizes: tuple[int, int, int], seed: int, *, padded: bool = False) -> dict[str, Any]:
    """Draw the logits of two models and targets; where it is padded, each row has another end."""
    n_rows, length, n_words = sizes
    random = generator(seed + 101 * n_rows)
    targets = torch.randint(n_words, (n_rows, length), generator=random)
    if padded:
        ends = torch.randint(1, length + 1, (n_rows, 1), generator=random)
        targets = targets.masked_fill(torch.arange(length) >= ends, -100)
        targets[0, 0] = -100 if length > 1 and int(ends[0]) > 1 else targets[0, 0]
    logits = 2 * torch.randn(2, n_rows, length, n_words, generator=random)
    return {"learner_logits": logits[0], "reference_logits": logits[1], "targets": targets}


def _checked(answer: Any, given: dict[str, Any]) -> Tensor:
    got = answer(**given)
    require_tensor(got, given)
    n_rows = len(given["targets"])
    require(
        got.shape == (n_rows,),
        f"One score for each row: the shape must be ({n_rows},).",
        cause=_left_over(got, given["targets"]),
        cure="Sum over the positions of a row, `.sum(1)`, and over nothing else.",
        got=got,
        example=given,
    )
    return got


def _left_over(got: Tensor, targets: Tensor) -> str:
    if got.ndim == 0:
        return "The mean went over the rows, too."
    if got.shape == targets.shape[1:]:
        return "The sum went over the rows, and the positions are left."
    return "A score for each position or for each word is left."


def _demand(answer: Any, given: dict[str, Any], said: str, otherwise: Why) -> None:
    got, expected = _checked(answer, given), scored(given)
    if torch.isclose(got.double(), expected.double(), rtol=1e-4, atol=1e-5).all():
        return
    slips = [(scored(given, slip), why) for slip, why in SLIPS.items()]
    why = likely(got, expected, slips, otherwise)
    require(False, said, **why, expected=expected, got=got, example=given)


@EXERCISE.stage("shape")
def _row_shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = case(sizes, seed)
        got = _checked(answer, given)
        require(
            got.dtype == torch.float32,
            "The scores must be float32.",
            expected=Words("float32"),
            got=Words(str(got.dtype).removeprefix("torch.")),
            example=given,
        )


@EXERCISE.stage("full rows")
def _row_full(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        _demand(
            answer,
            case(sizes, seed),
            "These are not the rows' learnabilities, though every position is asked for.",
            Why("A score is a mean over the positions of a row: the learner's loss less the "
                "reference's.",
                "`F.cross_entropy` of each, with the words on axis 1 and a loss for each position; "
                "then the mean over axis 1."),
        )  # fmt: skip


@EXERCISE.stage("padded rows")
def _row_padded(answer: Any, seed: int) -> None:
    for sizes in SIZES[1:]:
        _demand(
            answer,
            case(sizes, seed, padded=True),
            "Where rows have padding, these are not their learnabilities.",
            Why("The mean of a row goes over the positions that are asked for, wherever they lie.",
                "A mask, `targets != -100`: its sum over a row is the number to divide by."),
        )  # fmt: skip


@EXERCISE.stage("an empty row")
def _row_empty(answer: Any, seed: int) -> None:
    given = case((5, 6, 7), seed, padded=True)
    given["targets"][2] = -100
    got = _checked(answer, given)
    require(
        float(got[2]) == 0,
        "Row 2 asks for nothing: its score must be 0.",
        cause="0 / 0 is NaN, and nothing can be ranked with a NaN in it.",
        cure="Divide by `n_asked.clamp(min=1)`.",
        expected=scored(given),
        got=got,
        example=given,
    )
    _demand(answer, given, "An empty row changes the scores of others.", Why())


@EXERCISE.stage("numbers of any size")
def _row_large(answer: Any, seed: int) -> None:
    given = case((3, 5, 7), seed, padded=True)
    given["learner_logits"] = given["learner_logits"] * 90
    given["reference_logits"] = given["reference_logits"] - 300
    why = Why("exp(300) is infinite in float32, and the logarithm of exp(-300) minus infinity.",
              "`log_softmax` or `F.cross_entropy`, which subtract the maximum first.")  # fmt: skip
    if bool(_checked(answer, given).isfinite().all()):
        why = Why("A small number inside the logarithm puts a ceiling on the loss.", why.cure)
    _demand(answer, given, "With logits of some hundreds the scores are others.", why)
    given = case((5, 67, 11), seed)
    narrow = {name: given[name].bfloat16() for name in ("learner_logits", "reference_logits")}
    _demand(
        answer,
        given | narrow,
        "With logits in bfloat16 the scores are off.",
        Why("The losses were computed in bfloat16, and their small difference is lost in it.",
            "`.float()` first."),
    )  # fmt: skip


@EXERCISE.stage("no gradient")
def _row_detached(answer: Any, seed: int) -> None:
    given = case((3, 5, 7), seed)
    with torch.enable_grad():
        given["learner_logits"].requires_grad_()
        got = _checked(answer, given)
    require(
        not got.requires_grad,
        "The scores carry a gradient, and with it all that the learner computed.",
        cause="A score decides what is learned from and is no part of it; its graph keeps the "
        "activations of all candidates in memory.",
        cure="`@torch.no_grad()` above the function, or `.detach()`.",
        example={"learner_logits": Words("asks for a gradient")},
    )
