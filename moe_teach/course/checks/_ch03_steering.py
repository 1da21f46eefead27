"""Chapter 03, exercises 3.2 and 3.3: noise for training only, a bias for the choice only."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from moe_teach.course.checks._ch03_topk import SIZES, require_gates_and_ids
from moe_teach.course.exercise import Exercise, close, generator, require

NOISY = Exercise(
    id="3.2",
    name="noisy_topk_route",
    title="Noise in training, silence in evaluation",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    needs=("3.1",),
    hints=(
        "The noise goes onto the logits, before anything is chosen: choice and gates then follow "
        "from the same noisy logits. In evaluation the noisy logits are simply the logits.",
        "Draw `torch.randn(logits.shape, generator=generator)`: one number for each token *and* "
        "expert. Its standard deviation is softplus(noise_logits), one for each as well.",
        "if training: logits = logits + randn * softplus(noise_logits); chosen, expert_ids = "
        "logits.topk(top_k, dim=-1); gates = chosen.softmax(dim=-1).",
    ),
    explanation="Shazeer et al. (2017, eq. 3 to 5) add noise whose size the model learns, keep the "
    "k largest noisy logits and take the softmax over them. Noise lets experts that are second by "
    "a hair be tried, and so be learned. In evaluation it would only make answers unrepeatable.",
)


@NOISY.stage("evaluation")
def _noisy_evaluation(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        random = generator(seed)
        logits = torch.randn(n_tokens, n_experts, generator=random)
        noise_logits = torch.randn(n_tokens, n_experts, generator=random)
        example = {"logits": logits, "top_k": top_k, "training": False}
        got = answer(logits, noise_logits, top_k, False, generator(seed))
        require_gates_and_ids(got, n_tokens, top_k, **example)
        chosen = logits.topk(top_k, dim=-1)
        expected = (chosen.values.softmax(dim=-1), chosen.indices)
        require(
            close(got, expected),
            "With training=False there is no noise at all: the k largest clean logits, and the "
            "softmax over them. Look at `training` before you add anything.",
            expected=expected,
            got=got,
            example=example,
        )


@NOISY.stage("repeatable")
def _noisy_repeatable(answer: Any, seed: int) -> None:
    logits = torch.randn(7, 5, generator=generator(seed))
    example = {"logits": logits, "top_k": 2, "training": True}
    first, again = (answer(logits, logits, 2, True, generator(seed)) for _ in range(2))
    require(
        close(first, again),
        "Two calls with equally seeded generators gave different results. Hand `generator` on to "
        "the random function, so that an experiment can be repeated.",
        expected=first,
        got=again,
        example=example,
    )
    other = answer(logits, logits, 2, True, generator(seed + 1))
    require(
        not close(first[0], other[0]),
        "With training=True another seed gave exactly the same gates: no noise reaches them. "
        "The gates must come from the noisy logits, like the choice.",
        got=first[0],
        example=example,
    )


def _recovered_noise(answer: Any, noise_logits: Tensor, seed: int) -> Tensor:
    """Read the noise (up to a constant per token) off the gates of all experts, clean logits 0."""
    n_tokens, n_experts = noise_logits.shape
    zeros = torch.zeros(n_tokens, n_experts)
    gates, ids = answer(zeros, noise_logits, n_experts, True, generator(seed))
    example = {"logits": "zeros", "noise_logits": noise_logits, "top_k": n_experts}
    require(
        (gates[:, :-1] >= gates[:, 1:]).all(),
        "The gates are not sorted, largest first: the noise reached the gates, but the choice "
        "was made on the clean logits. Add the noise once, then choose.",
        got=gates,
        example=example,
    )
    by_expert = torch.zeros(n_tokens, n_experts).scatter(1, ids.long(), gates)
    return by_expert.log()


@NOISY.stage("a draw for each")
def _noisy_draws(answer: Any, seed: int) -> None:
    noise_logits = torch.full((7, 5), 2.0)
    noise = _recovered_noise(answer, noise_logits, seed)
    relative = noise - noise[:, :1]
    example = {"logits": "zeros", "noise_logits": noise_logits, "top_k": 5}
    require(
        relative.abs().max() > 1e-3,
        "Every expert of a token met the same noise, and a softmax does not feel that. Draw one "
        "number for each token and each expert.",
        got=relative,
        example=example,
    )
    require(
        (relative - relative[:1]).abs().max() > 1e-3,
        "Every token met the same noise. Draw with the shape of `logits`, not with the number of "
        "experts alone.",
        got=relative,
        example=example,
    )


@NOISY.stage("size")
def _noisy_size(answer: Any, seed: int) -> None:
    # The difference of two experts' noise: mean 0, variance the sum of both variances. With
    # 4,000 tokens the bounds below are at least six standard errors wide.
    noise_logits = torch.tensor([-2.0, 0.0]).expand(4000, 2).contiguous()
    noise = _recovered_noise(answer, noise_logits, seed)
    difference = noise[:, 0] - noise[:, 1]
    expected = softplus(noise_logits[0]).pow(2).sum().sqrt().item()
    example = {"logits": "zeros (4000, 2)", "noise_logits": "-2 and 0 in every row", "top_k": 2}
    mean, std = difference.mean().item(), difference.std().item()
    require(
        abs(mean) < 0.08,
        "The noise favours one expert: its mean is not zero. Use a standard normal "
        "(`torch.randn`), not a uniform number between 0 and 1.",
        expected=0.0,
        got=mean,
        example=example,
    )
    require(
        abs(std / expected - 1) < 0.08,
        "The noise has the wrong size. Its standard deviation is softplus(noise_logits), for each "
        "token and expert: not noise_logits itself, not its exponential, not a square root.",
        expected=f"the noise of expert 0 minus that of expert 1 spreads by {expected:.3f}",
        got=f"{std:.3f}",
        example=example,
    )


SIGMOID = Exercise(
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


@SIGMOID.stage("shape")
def _sigmoid_shape(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = torch.randn(n_tokens, n_experts, generator=generator(seed))
        got = answer(logits, torch.zeros(n_experts), top_k, 1.0)
        require_gates_and_ids(got, n_tokens, top_k, logits=logits, top_k=top_k)


@SIGMOID.stage("choice")
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
        require(
            close(ids, expected),
            "The choice must follow sigmoid(logits) + expert_bias, best first. Is the bias added "
            "to the logits, before the sigmoid?",
            expected=expected,
            got=ids,
            example=example,
        )


@SIGMOID.stage("gates")
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


@SIGMOID.stage("scale")
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
