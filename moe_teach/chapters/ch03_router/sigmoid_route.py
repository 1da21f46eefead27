"""Chapter 03, exercise 3.3: a bias for the choice only."""

from typing import Any

import torch

from moe_teach.chapters.ch03_router.topk_route import SIZES
from moe_teach.judging.compare import close, require_gates_and_ids
from moe_teach.judging.exercise import Exercise, generator, require

EXERCISE = Exercise(
    id="3.3",
    name="sigmoid_route",
    title="A bias that chooses and never weighs",
    points=2,
    difficulty=3,
    importance=5,
    minutes=15,
    needs=("3.1",),
    hints=(
        "Two different tensors are at work. One decides who is chosen and contains the bias; the "
        "other gives the gates and has never seen it.",
        "probs = sigmoid(logits). Choose with topk on probs + expert_bias, keep only the indices, "
        "and read the gates from probs with `gather`.",
        "expert_ids = (probs + expert_bias).topk(top_k, dim=-1).indices; gates = probs.gather(-1, "
        "expert_ids); divide by their sum over the chosen; multiply by gate_scale.",
    ),
    explanation="This is the rule of DeepSeek-V3 (arXiv 2412.19437, eq. 12 to 16). The bias steers "
    "the load; were it in the gates, balancing would also change what the layer computes. `gather` "
    "from the unbiased scores is the line that keeps the two apart.",
)


@EXERCISE.stage("shape")
def _sigmoid_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = torch.randn(n_tokens, n_experts, generator=generator(seed))
        got = answer(logits, torch.zeros(n_experts), top_k, 1.0)
        require_gates_and_ids(got, n_tokens, top_k, logits=logits, top_k=top_k)


@EXERCISE.stage("choice")
def _sigmoid_choice(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_tokens, n_experts, top_k in (*SIZES, (31, 11, 3)):
        logits = 2 * torch.randn(n_tokens, n_experts, generator=random)
        bias = 0.5 * torch.randn(n_experts, generator=random)
        _, ids = answer(logits, bias, top_k, 1.0)
        expected = (logits.sigmoid() + bias).topk(top_k, dim=-1).indices
        example = {"logits": logits, "expert_bias": bias, "top_k": top_k}
        require(
            close(ids, expected) or not close(ids, logits.topk(top_k, dim=-1).indices),
            "The choice is the one without any bias. Add expert_bias to the scores before topk.",
            expected=expected,
            got=ids,
            example=example,
        )
        soft = (logits.softmax(dim=-1) + bias).topk(top_k, dim=-1).indices
        require(
            close(ids, expected) or not close(ids, soft),
            "The experts were scored by a softmax, against each other. Here each is scored alone: "
            "take the sigmoid.",
            expected=expected,
            got=ids,
            example=example,
        )
        require(
            close(ids, expected),
            "The choice must follow sigmoid(logits) + expert_bias, best first. Is the bias added "
            "to the logits, before the sigmoid?",
            expected=expected,
            got=ids,
            example=example,
        )


@EXERCISE.stage("gates")
def _sigmoid_gates(answer: Any, seed: int) -> None:
    random = generator(seed)
    for n_tokens, n_experts, top_k in (*SIZES[1:], (31, 11, 3)):
        logits = torch.randn(n_tokens, n_experts, generator=random)
        bias = 0.5 * torch.randn(n_experts, generator=random)
        gates, ids = answer(logits, bias, top_k, 1.0)
        chosen = logits.sigmoid().gather(-1, ids)
        expected = chosen / chosen.sum(dim=-1, keepdim=True)
        example = {"logits": logits, "expert_bias": bias, "top_k": top_k, "gate_scale": 1.0}
        require(
            close(gates.sum(dim=-1), torch.ones(n_tokens)),
            "With gate_scale=1 the gates of a token sum to one. Sigmoid scores do not do that by "
            "themselves: divide by the sum over the chosen experts.",
            expected=expected,
            got=gates,
            example=example,
        )
        require(
            close(gates, expected),
            "The gates are not the normalised sigmoids of the chosen experts. Most likely the "
            "bias leaked in: take the gates from sigmoid(logits), without the bias.",
            expected=expected,
            got=gates,
            example=example,
        )


@EXERCISE.stage("scale")
def _sigmoid_scale(answer: Any, seed: int) -> None:
    logits = torch.randn(3, 5, generator=generator(seed))
    bias = torch.zeros(5)
    gates, _ = answer(logits, bias, 2, 2.5)
    require(
        close(gates.sum(dim=-1), torch.full((3,), 2.5)),
        "`gate_scale` multiplies the gates after the normalisation, so a row sums to gate_scale. "
        "Before the division it would cancel.",
        expected=torch.full((3,), 2.5),
        got=gates.sum(dim=-1),
        example={"logits": logits, "expert_bias": bias, "top_k": 2, "gate_scale": 2.5},
    )
