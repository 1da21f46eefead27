"""Chapter 03, exercise 3.1: the rule most routers follow."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch03_router.inputs import SIZES, draw_logits, far_logits
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, Words, generator, require, require_gates_and_ids
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="3.1",
    name="topk_route",
    title="Choose k experts and weigh them",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    hints=(
        "There are four steps: probabilities over all experts, the k best of them, and, if asked "
        "for, a division so that each row sums to one. Do all of it in float32.",
        "`logits.float().softmax(dim=-1)` gives the probabilities; `topk` on them gives values and "
        "indices at once. Normalise with the sum over the *chosen* ones, `keepdim=True`.",
        "probs = softmax of logits.float(); gates, expert_ids = probs.topk(top_k, dim=-1); "
        "if normalize_gates: divide gates by gates.sum(dim=-1, keepdim=True).",
    ),
    explanation="Softmax never changes the order of the logits, so choosing by logits or by "
    "probabilities is the same; only the gates differ. Dividing by the sum of the chosen "
    "probabilities cancels the softmax's denominator, which is why this equals a softmax over the "
    "chosen logits. Float32 comes first: rounded probabilities tie, and a tie is another expert.",
)


def _rule(logits: Tensor, top_k: int, normalize_gates: bool = True) -> tuple[Tensor, Tensor]:
    probs = logits.float().softmax(dim=-1)
    expert_ids = logits.float().topk(top_k, dim=-1).indices
    gates = probs.gather(-1, expert_ids)
    return (gates / gates.sum(dim=-1, keepdim=True) if normalize_gates else gates), expert_ids


@EXERCISE.stage("shape")
def _topk_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = draw_logits(n_tokens, n_experts, seed)
        for normalize in (True, False):
            got = answer(logits, top_k, normalize)
            require_gates_and_ids(got, n_tokens, top_k, logits=logits, top_k=top_k)


@EXERCISE.stage("choice")
def _topk_choice(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = draw_logits(n_tokens, n_experts, seed)
        _, ids = answer(logits, top_k, True)
        _, expected = _rule(logits, top_k)
        require(
            close(ids, expected),
            "These are not the k most probable experts of each token, best first.",
            cause="Softmax or topk works along the tokens, the least probable were taken, or the "
            "chosen ones were put in another order.",
            cure="Choose along the last dimension, the experts: `topk(top_k, dim=-1)`, and leave "
            "the order as it comes.",
            expected=expected,
            got=ids,
            example={"logits": logits, "top_k": top_k},
        )


@EXERCISE.stage("raw gates")
def _topk_raw(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = draw_logits(n_tokens, n_experts, seed)
        gates, _ = answer(logits, top_k, False)
        expected, _ = _rule(logits, top_k, False)
        require(
            top_k > 1 or close(gates, expected) or not close(gates, torch.ones_like(gates)),
            "With normalize_gates=False the gates are 1 where one expert is chosen.",
            cause="One gate was taken for a special case, or divided by itself.",
            cure="It stays the probability it was, as the gates of several experts do.",
            expected=expected,
            got=gates,
            example={"logits": logits, "top_k": top_k, "normalize_gates": False},
        )
        require(
            close(gates, expected),
            "With normalize_gates=False a gate is the expert's probability among *all* experts, "
            "so a row may sum to less than one.",
            cause="The softmax is taken over the chosen ones only, the gates are divided by their "
            "sum although nobody asked for it, or they are no softmax at all (sigmoids, logits).",
            cure="Take `softmax(dim=-1)` of all logits, then `topk`; divide only if told to.",
            expected=expected,
            got=gates,
            example={"logits": logits, "top_k": top_k, "normalize_gates": False},
        )


@EXERCISE.stage("normalised gates")
def _topk_normalised(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = draw_logits(n_tokens, n_experts, seed, scale=3.0)
        gates, _ = answer(logits, top_k, True)
        expected, _ = _rule(logits, top_k)
        example = {"logits": logits, "top_k": top_k, "normalize_gates": True}
        require(
            close(gates.sum(dim=-1), torch.ones(n_tokens)),
            "With normalize_gates=True the gates of each token sum to one, and these do not.",
            cause="They are not renormalised, or along another axis, not where one expert is "
            "chosen, or by something else than their sum.",
            cure="Renormalise them: divide by the sum over the chosen experts, keepdim=True.",
            expected=expected,
            got=gates,
            example=example,
        )
        require(
            close(gates, expected),
            "Each row sums to one, but two gates do not stand to each other as the two "
            "probabilities do.",
            cause="Something was applied twice, most likely a softmax.",
            cure="Divide the chosen probabilities by their sum, and do nothing else.",
            expected=expected,
            got=gates,
            example=example,
        )
        unsaid, _ = answer(logits, top_k)
        require(
            close(unsaid, expected),
            "Called without `normalize_gates`, the gates are not normalised.",
            cause="The parameter has another default than in the stub.",
            cure="Keep the stub's default: normalize_gates=True.",
            expected=expected,
            got=unsaid,
            example={"logits": logits, "top_k": top_k},
        )


@EXERCISE.stage("far from zero")
def _topk_far(answer: Any, seed: int) -> None:
    logits = far_logits(seed)
    for normalize in (False, True):
        got = answer(logits, 3, normalize)
        expected = _rule(logits, 3, normalize)
        require(
            close(got, expected),
            "Logits near 1,000, with rows 200 apart, give other gates than the same logits near "
            "zero would.",
            cause="`exp` of such numbers is infinite or zero in float32.",
            cure="Subtract the largest logit of *each row* first, or use torch's own softmax.",
            expected=expected,
            got=got,
            example={"logits": logits, "top_k": 3, "normalize_gates": normalize},
        )


@EXERCISE.stage("float32")
def _topk_float32(answer: Any, seed: int) -> None:
    # Neighbouring bfloat16 numbers: different as logits, equal after a softmax in bfloat16.
    order = torch.randperm(128, generator=generator(seed))[:104].reshape(8, 13)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        logits = (0.25 + order / 512).to(dtype)
        for normalize in (True, False):
            gates, ids = answer(logits, 5, normalize)
            expected = _rule(logits, 5, normalize)
            example = {"logits": logits, "top_k": 5, "normalize_gates": normalize}
            facts = {"expected": expected, "got": (gates, ids), "example": example}
            kind = str(gates.dtype).removeprefix("torch.")
            require(
                close(ids, expected[1]),
                f"From logits in {str(dtype).removeprefix('torch.')} another expert is chosen "
                "than from the same numbers in float32.",
                cause="In low precision neighbouring probabilities round to one number.",
                cure="Turn the logits into float32 before the softmax.",
                **facts,
            )
            require(
                gates.dtype == torch.float32,
                f"The gates came in {kind}, and the contract says float32, whatever the dtype of "
                "the logits.",
                cause="They follow the dtype of the logits, or were converted at the end.",
                cure="Begin with `logits.float()`, and convert nothing after it.",
                expected=Words("gates in float32"),
                got=Words(f"gates in {kind}"),
                example=example,
            )
            require(
                close(gates, expected[0]),
                "The experts are the right ones and the gates are in float32, but their last "
                "digits are lost.",
                cause="A step before the end ran in low precision.",
                cure="Turn the logits into float32 first of all, and nothing back.",
                **facts,
            )


@EXERCISE.stage("gradient")
def _topk_gradient(answer: Any, seed: int) -> None:
    for top_k, normalize in ((2, True), (2, False), (1, False), (5, True)):
        logits = draw_logits(3, 5, seed)
        given = {"logits": logits, "top_k": top_k, "normalize_gates": normalize}
        require_gradients(answer, _rule, given, seed=seed)
