"""Chapter 03, exercise 3.2: noise for training only."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from moe_teach.chapters.ch03_router.inputs import SIZES, draw_logits, far_logits
from moe_teach.chapters.ch03_router.reading_noise import (
    SILENT,
    many_draws,
    noisy_logits,
    require_independent,
    require_live_sum,
    require_new_noise,
    require_standard_normal,
)
from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Exercise, generator, require, require_gates_and_ids
from moe_teach.judging.gradients import require_gradients

EXERCISE = Exercise(
    id="3.2",
    name="noisy_topk_route",
    title="Noise in training, silence in evaluation",
    points=2,
    difficulty=3,
    importance=4,
    minutes=15,
    needs=("3.1",),
    version=2,
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


N_DRAWS = 64


def _rule(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    chosen, expert_ids = logits.topk(top_k, dim=-1)
    return chosen.softmax(dim=-1), expert_ids


@EXERCISE.stage("evaluation")
def _noisy_evaluation(answer: Any, seed: int) -> None:
    for n_tokens, n_experts, top_k in SIZES:
        logits = draw_logits(n_tokens, n_experts, seed)
        noise_logits = draw_logits(n_tokens, n_experts, seed + 1)
        example = {"logits": logits, "top_k": top_k, "training": False}
        got = answer(logits, noise_logits, top_k, False, generator(seed))
        require_gates_and_ids(got, n_tokens, top_k, **example)
        expected = _rule(logits, top_k)
        probabilities = logits.softmax(dim=-1).topk(top_k, dim=-1).values
        require(
            close(got, expected) or not close(got[0], probabilities),
            "The gates are probabilities among all experts: a row of them does not sum to one.",
            cause="The softmax came before the choice.",
            cure="Equation 3 takes the softmax over the *chosen* logits only.",
            expected=expected,
            got=got,
            example=example,
        )
        require(
            close(got, expected),
            "With training=False there is no noise at all, and this is not what the clean logits "
            "give.",
            cause="Noise is added in evaluation too, or the clean rule itself is another one: the "
            "k "
            "largest logits, and the softmax over them.",
            cure="Look at `training` before you add anything; the rest is topk, then softmax.",
            expected=expected,
            got=got,
            example=example,
        )


@EXERCISE.stage("far from zero")
def _noisy_far(answer: Any, seed: int) -> None:
    logits = far_logits(seed)
    got, expected = answer(logits, logits - 1_000, 3, False), _rule(logits, 3)
    require(
        close(got, expected),
        "Near zero the gates were right, and with logits near 1,000 they are not.",
        cause="`exp` of them is infinite in float32.",
        cure="Use torch's softmax: it first subtracts the largest.",
        expected=expected,
        got=got,
        example={"logits": logits, "top_k": 3, "training": False},
    )


@EXERCISE.stage("repeatable")
def _noisy_repeatable(answer: Any, seed: int) -> None:
    logits = draw_logits(7, 5, seed)
    example = {"logits": logits, "top_k": 2, "training": True}
    first, again = (answer(logits, logits, 2, True, generator(seed)) for _ in range(2))
    require(
        close(first, again),
        "Two calls with equally seeded generators gave different results.",
        cause="The noise is drawn from somewhere else.",
        cure="Hand `generator` on to the random function.",
        expected=first,
        got=again,
        example=example,
    )
    other = answer(logits, logits, 2, True, generator(seed + 1))
    silent = answer(logits, logits, 2, False, generator(seed))
    require(
        not close(first[0], other[0]) or close(first[0], silent[0]),
        "With training=True another generator gave exactly the same gates, noise and all.",
        cause="There may be a seed inside your function.",
        cure="Draw from the `generator` you are given.",
        got=first[0],
        example=example,
    )
    require(
        not close(first[0], other[0]),
        "With training=True another seed gave exactly the same gates, and they are those of "
        "evaluation: no noise reaches them.",
        cause="The gates are computed from the clean logits.",
        cure="Make the noisy logits first; choice and gates both come from them.",
        got=first[0],
        example=example,
    )


@EXERCISE.stage("its own generator")
def _noisy_generator(answer: Any, seed: int) -> None:
    logits = draw_logits(7, 5, seed)
    example = {"logits": logits, "top_k": 2, "training": True}
    require_new_noise(
        answer,
        logits,
        generator(seed),
        "Two training steps, one after the other, met the same noise, or none.",
        "A generator moves on with each draw, and this one was copied, rewound or seeded again.",
        "Hand `generator` itself on to the random function, and touch it no further.",
    )
    require_new_noise(
        answer,
        logits,
        None,
        "Where `generator` is None, two training steps met the same noise, or none.",
        "None was taken for `no noise`, or something was seeded in its place.",
        "Hand the None on: torch's own random numbers draw then.",
    )
    state = torch.get_rng_state()
    answer(logits, logits, 2, True, generator(seed))
    require(
        bool((state == torch.get_rng_state()).all()),
        "A generator was given, and torch's global random numbers moved on or were seeded anew.",
        cause="Something is drawn without `generator=`, or `torch.manual_seed` is called.",
        cure="Everybody else draws from those: draw from `generator` alone.",
        example=example,
    )


@EXERCISE.stage("a draw for each")
def _noisy_draws(answer: Any, seed: int) -> None:
    random, silent = generator(seed), seed % 3  # over three seeds, each is silent once
    # Whoever shares a draw with the silent one shows with another.
    logits, noise_logits = draw_logits(4, 3, seed), draw_logits(4, 3, seed + 1)
    noise_logits[:, silent] = SILENT
    draws = []
    for _ in range(N_DRAWS):
        added = noisy_logits(answer, logits, noise_logits, random, silent) - logits
        draws.append(added / softplus(noise_logits))
    require_independent(torch.stack(draws), silent, {"logits": logits, "top_k": 3})


@EXERCISE.stage("size")
def _noisy_size(answer: Any, seed: int) -> None:
    logits, noise_logits = many_draws(seed)
    added = noisy_logits(answer, logits, noise_logits, generator(seed)) - logits
    require_standard_normal(added, logits, noise_logits)


@EXERCISE.stage("few of many")
def _noisy_few(answer: Any, seed: int) -> None:
    logits, noise_logits = draw_logits(7, 5, seed), draw_logits(7, 5, seed + 1)
    noise_logits[:, 0] = SILENT
    noisy = noisy_logits(answer, logits, noise_logits, generator(seed))
    for top_k in (1, 2, 4):
        got = answer(logits, noise_logits, top_k, True, generator(seed))
        expected = _rule(noisy, top_k)
        require(
            close(got, expected),
            f"With all 5 experts chosen the noise is right; with {top_k} of them, the result is "
            "not what the same noisy logits give.",
            cause="The noise, the choice or the softmax depends on top_k.",
            cure="Draw for all experts; then take the k largest and a softmax over these.",
            expected=expected,
            got=got,
            example={"logits": logits, "noise_logits": noise_logits, "top_k": top_k},
        )


@EXERCISE.stage("gradient")
def _noisy_gradient(answer: Any, seed: int) -> None:
    logits = draw_logits(3, 4, seed, scale=0.5)
    noise_logits = 1 + draw_logits(3, 4, seed + 1, scale=0.2)
    noise_logits[:, 0] = 6 * SILENT  # here even the gradient of the first expert's noise vanishes
    noise = (noisy_logits(answer, logits, noise_logits, generator(seed)) - logits).nan_to_num()
    noise[:, 1:] /= softplus(noise_logits[:, 1:])
    given = {"logits": logits, "noise_logits": noise_logits}

    def trained(logits: Tensor, noise_logits: Tensor) -> Any:
        return answer(logits, noise_logits, 2, True, generator(seed))

    def evaluated(logits: Tensor, noise_logits: Tensor) -> Any:
        return answer(logits, noise_logits, 2, False)

    require_gradients(evaluated, lambda clean, _: _rule(clean, 2), given, seed=seed)
    require_live_sum(trained, given)
    require_gradients(
        trained,
        lambda clean, size: _rule(clean + noise * softplus(size), 2),
        given,
        seed=seed,
    )
