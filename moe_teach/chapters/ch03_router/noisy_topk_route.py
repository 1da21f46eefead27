"""Chapter 03, exercise 3.2: noise for training only."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from moe_teach.chapters.ch03_router.topk_route import SIZES
from moe_teach.judging.compare import close, require_gates_and_ids
from moe_teach.judging.exercise import Exercise, Words, generator, require

EXERCISE = Exercise(
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


@EXERCISE.stage("evaluation")
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
        probabilities = logits.softmax(dim=-1).topk(top_k, dim=-1).values
        require(
            close(got, expected) or not close(got[0], probabilities),
            "The gates are probabilities among all experts. Equation 3 takes the softmax over the "
            "*chosen* logits only, so a row of gates sums to one.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            close(got, expected),
            "With training=False there is no noise at all: the k largest clean logits, and the "
            "softmax over them. Look at `training` before you add anything.",
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("repeatable")
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
    silent = answer(logits, logits, 2, False, generator(seed))
    require(
        not close(first[0], other[0]) or close(first[0], silent[0]),
        "With training=True another generator gave exactly the same gates, noise and all. Is there "
        "a seed inside your function? Draw from the `generator` you are given.",
        got=first[0],
        example=example,
    )
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
    example = {"logits": Words("zeros"), "noise_logits": noise_logits, "top_k": n_experts}
    require(
        (gates[:, :-1] >= gates[:, 1:]).all(),
        "The gates are not sorted, largest first: the noise reached the gates, but the choice "
        "was made on the clean logits. Add the noise once, then choose.",
        got=gates,
        example=example,
    )
    reaches_choice = bool((ids != ids[:1]).any())
    require(
        not reaches_choice or not close(gates, torch.full_like(gates, 1 / n_experts)),
        "The choice follows the noisy logits, but the gates come from the clean ones. Take the "
        "softmax over the chosen *noisy* logits.",
        got=gates,
        example=example,
    )
    by_expert = torch.zeros(n_tokens, n_experts).scatter(1, ids.long(), gates)
    return by_expert.log()


@EXERCISE.stage("a draw for each")
def _noisy_draws(answer: Any, seed: int) -> None:
    noise_logits = torch.full((7, 5), 2.0)
    noise = _recovered_noise(answer, noise_logits, seed)
    relative = noise - noise[:, :1]
    example = {"logits": Words("zeros"), "noise_logits": noise_logits, "top_k": 5}
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


@EXERCISE.stage("size")
def _noisy_size(answer: Any, seed: int) -> None:
    # The difference of two experts' noise: mean 0, variance the sum of both variances. With
    # 4,000 tokens the bounds below are at least six standard errors wide.
    noise_logits = torch.tensor([-2.0, 0.0]).expand(4000, 2).contiguous()
    noise = _recovered_noise(answer, noise_logits, seed)
    difference = noise[:, 0] - noise[:, 1]
    expected = softplus(noise_logits[0]).pow(2).sum().sqrt().item()
    example = {
        "logits": Words("zeros (4000, 2)"),
        "noise_logits": Words("-2 and 0 in every row"),
        "top_k": 2,
    }
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
        expected=Words(f"the noise of expert 0 minus that of expert 1 spreads by {expected:.3f}"),
        got=Words(f"it spreads by {std:.3f}"),
        example=example,
    )
