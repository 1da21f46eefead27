"""Exercise 2.3: what the competitive error pulls at, derived by hand."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch02_mixtures.inputs import (
    SIZES,
    Mistakes,
    edges,
    inputs,
    own_errors,
    require_no_slip,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import (
    Exercise,
    Words,
    WrongAnswer,
    require,
    require_tensors,
)

EXERCISE = Exercise(
    id="2.3",
    name="competitive_gradients",
    title="The pulls of the competitive error",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    version=2,
    hints=(
        "Take one token. E is a sum of gate times squared error. An answer stands in one squared "
        "error alone; a logit stands in every gate, because a softmax divides by all of them.",
        "With p the gates and e the squared errors of one token, the derivative of p_j with "
        "respect to logit i is p_j (1 - p_i) if j = i, and -p_j p_i if not. Sum over j, and "
        "collect what is left: p_i times the difference of two errors.",
        "gates = logits.softmax(-1) / len(targets); misses = outputs - targets[:, None]; "
        "errors = misses.square().sum(-1); d_outputs = 2 * gates[..., None] * misses; "
        "d_logits = gates * (errors - (logits.softmax(-1) * errors).sum(-1, keepdim=True)).",
    ),
    explanation="A logit rises where its expert is better than the gate-weighted mean of all, and "
    "falls where it is worse. Both pulls carry the expert's own gate as a factor. So an expert "
    "whose gate is nearly zero hardly moves, however good it could become, and its logit stays "
    "where it is, however good it already is.",
)
_NAMES = ("d_outputs", "d_logits")


def _expected(outputs: Tensor, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Let autograd derive the lesson's error, in float64."""
    with torch.enable_grad():
        leaves = [part.detach().double().requires_grad_() for part in (outputs, logits)]
        errors = own_errors(leaves[0], targets.double())
        loss = (leaves[1].softmax(dim=-1) * errors).sum(dim=-1).mean()
        found = torch.autograd.grad(loss, leaves)
    return found[0].to(outputs.dtype), found[1].to(logits.dtype)


def _by_hand(answer: Any, given: dict[str, Tensor]) -> Any:
    """Call an answer where autograd records nothing."""
    try:
        with torch.inference_mode():
            return answer(**given)
    except RuntimeError as error:
        if "require grad" not in str(error) and "inference" not in str(error).lower():
            raise
        raise WrongAnswer(
            "The answer asks autograd, which records nothing here.",
            cause="`backward` and `torch.autograd.grad` need a graph, and the formula is to be "
            "yours.",
            cure="Write down what autograd would compute: sums and products of the three inputs.",
            expected=Words("two tensors, computed from the inputs"),
            got=Words("a call of autograd"),
            example=given,
        ) from None


@EXERCISE.stage("shape")
def _shape(answer: Any, seed: int) -> None:
    for sizes in SIZES:
        given = inputs(sizes, seed)
        got = _by_hand(answer, given)
        require_tensors(got, _NAMES, given)
        for name, part, like in zip(_NAMES, got, given.values(), strict=False):
            require(
                part.shape == like.shape,
                f"`{name}` must have the shape of what it pulls at, {tuple(like.shape)} here, and "
                f"has {tuple(part.shape)}.",
                cause="An axis was summed that each number of its own has, or one stayed behind.",
                cure="Only the squared norm sums over the outputs, and only the mean of the errors "
                "over the experts. Nothing is summed over the tokens.",
                got=part,
                example=given,
            )


def _about_outputs(given: dict[str, Tensor]) -> Mistakes:
    right, _ = _expected(**given)
    n_tokens, n_experts, _ = right.shape
    misses = given["outputs"] - given["targets"][:, None]
    return (
        (
            -right,
            "`d_outputs` has the wrong sign.",
            "This is the way the answers should go; a gradient points the other way, uphill.",
            "An answer above its target has a positive gradient: outputs - targets.",
        ),
        (
            right / 2,
            "`d_outputs` is half of what it must be.",
            "A square was not derived.",
            "The derivative of a square is two times what is squared.",
        ),
        (
            right * n_tokens,
            "`d_outputs` grows with the batch.",
            "E is a mean over the tokens, so each of them has only a share of the pull.",
            "Divide by the number of tokens.",
        ),
        (
            2 * misses / n_tokens,
            "Every expert is pulled as if its gate were 1.",
            "The gate weighs the error, so it weighs the derivative, too.",
            "Multiply by the gates, with a new last axis.",
        ),
        (
            2 * misses / (n_tokens * n_experts),
            "Every expert is pulled alike, whatever its gate.",
            "A mean over the experts stands where the gates belong.",
            "Multiply by the gates, with a new last axis.",
        ),
    )


def _about_logits(given: dict[str, Tensor]) -> Mistakes:
    _, right = _expected(**given)
    n_tokens = len(right)
    gates = given["logits"].softmax(dim=-1) / n_tokens
    errors = own_errors(given["outputs"], given["targets"])
    return (
        (
            -right,
            "`d_logits` has the wrong sign.",
            "The logit of a bad expert must have a positive gradient, so that a step downhill "
            "lowers it.",
            "Its own error comes first, and the mean of all errors is taken off.",
        ),
        (
            right * n_tokens,
            "`d_logits` grows with the batch.",
            "E is a mean over the tokens, so each of them has only a share of the pull.",
            "Divide by the number of tokens.",
        ),
        (
            gates * errors,
            "`d_logits` does not sum to zero over the experts, as a softmax demands.",
            "Only the expert's own gate was derived as if the others stayed, and a softmax that "
            "gives to one takes from all.",
            "Take the gate-weighted mean of all errors off the expert's own error.",
        ),
        (
            gates * (1 - n_tokens * gates) * errors,
            "`d_logits` does not sum to zero over the experts.",
            "p (1 - p) is how the expert's own gate moves; the other gates move, too.",
            "Add the part of the others, -p_j p_i e_j, and collect the terms.",
        ),
        (
            gates * (errors - errors.mean(dim=-1, keepdim=True)),
            "`d_logits` compares an expert with the plain mean of all errors.",
            "Experts with a small gate count less in E, and in this mean, too.",
            "Weigh the mean with the gates.",
        ),
        _mean_over_the_outputs(right, given["outputs"].shape[2]),
    )


def _mean_over_the_outputs(right: Tensor, n_outputs: int) -> tuple[Tensor, str, str, str]:
    return (
        right / n_outputs,
        "`d_logits` is too small, by the number of outputs.",
        "The squared distance is a sum over the outputs, and a mean was taken.",
        "`.square().sum(dim=-1)` gives each expert's error.",
    )


def _require_part(answer: Any, seed: int, index: int, mistakes: Any, cause: str, cure: str) -> None:
    tries = []
    for sizes in SIZES[1:]:  # with one expert, no logit matters
        given = inputs(sizes, seed)
        got = _by_hand(answer, given)[index]
        tell = {"expected": _expected(**given)[index], "got": got, "example": given}
        tries.append((mistakes(given), tell))
    require_no_slip(tries)
    symptom = f"`{_NAMES[index]}` is not the derivative of the competitive error."
    for _, tell in tries:
        require(close(tell["got"], tell["expected"]), symptom, cause=cause, cure=cure, **tell)


@EXERCISE.stage("pull at the answers")
def _outputs(answer: Any, seed: int) -> None:
    cause = "A factor is missing or too many: the gate, the two of the square, one over T."
    cure = "For token t and expert i it is 2 p_i (o_i - d) / T."
    _require_part(answer, seed, 0, _about_outputs, cause, cure)


@EXERCISE.stage("pull at the router")
def _logits(answer: Any, seed: int) -> None:
    cause = "Each logit moves every gate of its token: one up, the others down."
    cure = "For token t and expert i it is p_i (e_i - sum_j p_j e_j) / T."
    _require_part(answer, seed, 1, _about_logits, cause, cure)


@EXERCISE.stage("other inputs")
def _edges(answer: Any, seed: int) -> None:
    for what, cause, cure, given in edges(inputs((7, 5, 3), seed)):
        got, right = _by_hand(answer, given), _expected(**given)
        is_precise = all(
            part.dtype == torch.float64 or like.dtype != torch.float64
            for part, like in zip(got, right, strict=True)
        )
        require(
            is_precise and close(got, right),
            f"Right so far, but not with {what}.",
            cause=cause,
            cure=cure,
            expected=right,
            got=got,
            example=given,
        )
    one = inputs((3, 1, 2), seed)
    got = _by_hand(answer, one)
    require(
        close(got, _expected(**one)),
        "With a single expert the router has no choice, and nothing may pull at its logit.",
        cause="The gate is always 1 there.",
        cure="The expert's own error is the mean of all errors, and the difference is zero.",
        expected=_expected(**one),
        got=got,
        example=one,
    )
