"""Chapter 03, exercise 3.1: the rule most routers follow."""

from typing import Any

import torch

from moe_teach.judging.compare import close, require_gates_and_ids
from moe_teach.judging.exercise import Exercise, Words, generator, require

SIZES = ((1, 1, 1), (1, 3, 2), (3, 5, 2), (7, 11, 3), (5, 4, 4))  # tokens, experts, top_k


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


@EXERCISE.stage("shape")
def _topk_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = torch.randn(n_tokens, n_experts, generator=generator(seed))
        for normalize in (True, False):
            got = answer(logits, top_k, normalize)
            require_gates_and_ids(got, n_tokens, top_k, logits=logits, top_k=top_k)


@EXERCISE.stage("choice")
def _topk_choice(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = torch.randn(n_tokens, n_experts, generator=generator(seed))
        _, ids = answer(logits, top_k, True)
        require(
            close(ids, logits.topk(top_k, dim=-1).indices),
            "These are not the k most probable experts of each token, best first. Choose along "
            "the last dimension, the experts.",
            expected=logits.topk(top_k, dim=-1).indices,
            got=ids,
            example={"logits": logits, "top_k": top_k},
        )


@EXERCISE.stage("raw gates")
def _topk_raw(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = torch.randn(n_tokens, n_experts, generator=generator(seed))
        gates, _ = answer(logits, top_k, False)
        expected = logits.softmax(dim=-1).topk(top_k, dim=-1).values
        require(
            close(gates, expected),
            "With normalize_gates=False a gate is the expert's probability among *all* experts, "
            "so a row may sum to less than one. Is the softmax taken over the chosen ones only, "
            "or are the gates divided by their sum although nobody asked for it?",
            expected=expected,
            got=gates,
            example={"logits": logits, "top_k": top_k, "normalize_gates": False},
        )


@EXERCISE.stage("normalised gates")
def _topk_normalised(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = 3 * torch.randn(n_tokens, n_experts, generator=generator(seed))
        gates, _ = answer(logits, top_k, True)
        expected = logits.topk(top_k, dim=-1).values.softmax(dim=-1)
        example = {"logits": logits, "top_k": top_k, "normalize_gates": True}
        require(
            close(gates.sum(dim=-1), torch.ones(n_tokens)),
            "With normalize_gates=True the gates of each token sum to one. Renormalise them: "
            "divide by the sum over the chosen experts, keepdim=True.",
            expected=expected,
            got=gates,
            example=example,
        )
        require(
            close(gates, expected),
            "Each row sums to one, but the proportions are off: two gates must stand to each "
            "other as the two probabilities do. Was something applied twice?",
            expected=expected,
            got=gates,
            example=example,
        )


@EXERCISE.stage("float32")
def _topk_float32(answer: Any, seed: int) -> None:
    # Neighbouring bfloat16 numbers: different as logits, equal after a softmax in bfloat16.
    order = torch.randperm(128, generator=generator(seed))[:104].reshape(8, 13)
    logits = (0.25 + order / 512).bfloat16()
    gates, ids = answer(logits, 5, True)
    expected = logits.float().topk(5, dim=-1)
    example = {"logits": logits, "top_k": 5}
    require(
        gates.dtype != torch.float64,
        "The gates came in float64. The contract says float32, whatever the dtype of the logits: "
        "the experts' outputs are multiplied with them.",
        expected=Words("gates in float32"),
        got=Words("gates in float64"),
        example=example,
    )
    require(
        gates.dtype == torch.float32 and close(ids, expected.indices),
        "Low-precision logits must be read in float32 before the softmax. In bfloat16 "
        "neighbouring probabilities round to the same number, and another expert wins.",
        expected=(expected.values.softmax(dim=-1), expected.indices),
        got=(gates, ids),
        example=example,
    )


@EXERCISE.stage("gradient")
def _topk_gradient(answer: Any, seed: int) -> None:
    logits = torch.randn(3, 5, generator=generator(seed)).requires_grad_()
    gates, _ = answer(logits, 2, True)
    require(
        gates.requires_grad,
        "No gradient flows from the gates to the logits, so this router could never learn. "
        "Is there a detach(), no_grad() or item() in between?",
        example={"logits": logits, "top_k": 2},
    )
