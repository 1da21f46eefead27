"""Chapter 08, exercise 8.4: somebody's loader, which has five mistakes."""

from typing import Any

from torch import Tensor

from moe_teach.chapters.ch08_real_models.block_rule import (
    Config,
    Tensors,
    defined,
    drawn,
    tokens,
)
from moe_teach.judging.exercise import Exercise, Words, require, require_tensor
from moe_teach.judging.gradients import require_gradients
from moe_teach.judging.reasons import Why

EXERCISE = Exercise(
    id="8.4",
    name="repaired_block",
    title="Find what is wrong: a loader that loads",
    points=3,
    difficulty=3,
    importance=5,
    minutes=20,
    hints=(
        "Read it against the contract, sentence by sentence. For each sentence, think of the "
        "smallest block in which nothing but this sentence matters: one expert; twelve experts; a "
        "config without the key; a bias of zero and one that is not.",
        "One mistake is in the matrices of an expert, one in the order of the experts, one in the "
        "default of a key, one in what the gates are read from, and one in what the factor "
        "multiplies.",
        "scores = logits.sigmoid() or softmax; ids = (scores + bias).topk(k).indices; gates = "
        "scores.gather(1, ids), divided by their sum if config.get('norm_topk_prob', model_type == "
        "'deepseek_v3'), times the factor; experts by number; silu(x @ gate.T) * (x @ up.T); the "
        "shared expert is added at the end, as it is.",
    ),
    explanation="All five were published, one by one. A missing normalisation: torchtitan 1448; "
    "one too many, for OLMoE: mlxcel 391, whose text began well and then drifted. The bias in the "
    "gates: vLLM 12002. A factor that was applied twice: vLLM 24119, where GSM8K fell from 95 to "
    "66 %; one that reached the shared expert: SGLang 28237, where short answers lost one point "
    "and long ones their sense. Gate and up in the wrong order: vLLM 44893, by another interface. "
    "None of them raised an error, and all loaded every tensor of the file.",
)
SIZES = ((1, 1), (3, 2), (4, 4), (12, 3))  # experts, top_k


def _judge(answer: Any, tensors: Tensors, config: Config, x: Tensor, said: str, slips: Any) -> None:
    got = answer(dict(tensors), dict(config), x)
    example = {"config": config, "tensors": Words(f"{len(tensors)} of them"), "x": x}
    require_tensor(got, example)
    right = defined(tensors, config, x)
    require(
        got.shape == x.shape,
        "y must have the shape of x, (T, D).",
        expected=Words(f"{tuple(x.shape)}"),
        got=Words(f"{tuple(got.shape)}"),
        example=example,
    )
    if near(got, right):
        return
    causes = (
        why
        for slip, why in slips
        if near(got, wrong := defined(tensors, config, x, **slip)) and not near(right, wrong)
    )
    why = next(causes, Why("Compare with the contract, line by line."))
    require(False, said, **why._asdict(), expected=right.float(), got=got, example=example)


def near(got: Tensor, right: Tensor) -> bool:
    """Compare beside the largest number, for sums of products cancel."""
    gap = (got.detach().double() - right).abs().max()
    return bool(gap <= 1e-5 * (1 + right.abs().max()))


SWAPPED = (
    {"swapped": True},
    Why("The activation sits on the up matrix.", "silu(x @ gate.T) * (x @ up.T)"),
)
ALWAYS = (
    {"normalised": True},
    Why(
        "The gates are always divided by their sum.",
        "Where the key is missing, olmoe and qwen3_moe take False.",
    ),
)
NEVER = (
    {"normalised": False},
    Why(
        "The gates are never divided by their sum.",
        "Where the key is missing, deepseek_v3 takes True.",
    ),
)
BIASED = (
    {"biased": True},
    Why("The gates contain the bias.", "Choose by scores + bias; weigh with scores.gather."),
)
NO_BIAS = (
    {"unbiased_choice": True},
    Why("The bias has no say in the choice.", "ids = (scores + bias).topk(k).indices"),
)
SHARED = (
    {"scales_shared": True},
    Why("The factor multiplies the shared expert, too.", "Multiply the gates, and add it after."),
)
NO_SCALE = (
    {"scale": 1.0},
    Why("The factor has no effect.", "Where the key is missing, deepseek_v3 takes 2.5."),
)
SOFTMAX = (
    {"score": "softmax"},
    Why("The experts were scored by a softmax.", "deepseek_v3 scores each alone: a sigmoid."),
)


@EXERCISE.stage("one expert")
def _one_expert(answer: Any, seed: int) -> None:
    config = {"model_type": "qwen3_moe", "num_experts_per_tok": 1, "norm_topk_prob": True}
    for n_tokens in (1, 11):
        said = "With one expert, whose gate is 1, the block says something else than that expert."
        x = tokens(seed, n_tokens)
        _judge(answer, drawn("qwen3_moe", 1, seed), config, x, said, [SWAPPED])


@EXERCISE.stage("the gates")
def _gates(answer: Any, seed: int) -> None:
    for kind in ("olmoe", "qwen3_moe"):
        for key in ({"norm_topk_prob": True}, {"norm_topk_prob": False}, {}):
            told = f"`norm_topk_prob` {key['norm_topk_prob']}" if key else "no `norm_topk_prob`"
            for n_experts, top_k in SIZES[:3]:
                config = {"model_type": kind, "num_experts_per_tok": top_k, **key}
                said = f"With {told} in the config of {kind}, the mixture is another one."
                tensors = drawn(kind, n_experts, seed)
                _judge(answer, tensors, config, tokens(seed), said, [ALWAYS, NEVER])


@EXERCISE.stage("twelve experts")
def _twelve(answer: Any, seed: int) -> None:
    in_text_order = sorted(range(12), key=str)
    slip = (
        {"order": in_text_order},
        Why("The experts are sorted as text: 10 comes before 2.", "Go by number: range(n)."),
    )
    config = {"model_type": "olmoe", "num_experts_per_tok": 3}
    said = "With up to ten experts the block was right, and with twelve it is not."
    _judge(answer, drawn("olmoe", 12, seed), config, tokens(seed, 40), said, [slip])


@EXERCISE.stage("the bias")
def _bias(answer: Any, seed: int) -> None:
    for n_experts, top_k in SIZES:
        for norm in ({}, {"norm_topk_prob": True}, {"norm_topk_prob": False}):
            config = {"model_type": "deepseek_v3", "num_experts_per_tok": top_k, **norm}
            config["routed_scaling_factor"] = 1.0
            told = f"`norm_topk_prob` {norm['norm_topk_prob']}" if norm else "no `norm_topk_prob`"
            said = f"With the bias of deepseek_v3 and {told}, the mixture is another one."
            slips = [SOFTMAX, NO_BIAS, BIASED, NEVER, ALWAYS]
            tensors = drawn("deepseek_v3", n_experts, seed)
            _judge(answer, tensors, config, tokens(seed, 40), said, slips)


@EXERCISE.stage("the factor")
def _factor(answer: Any, seed: int) -> None:
    for factor in ({}, {"routed_scaling_factor": 1.7}, {"routed_scaling_factor": 0.5}):
        for shared in (False, True):
            config = {"model_type": "deepseek_v3", "num_experts_per_tok": 2, **factor}
            told = f"a `routed_scaling_factor` of {factor.get('routed_scaling_factor')}"
            told = told if factor else "no `routed_scaling_factor`"
            always = "a shared expert" if shared else "no shared expert"
            said = f"With {told} and {always}, the block says something else."
            tensors = drawn("deepseek_v3", 5, seed, shared=shared)
            _judge(answer, tensors, config, tokens(seed), said, [SHARED, NO_SCALE])


@EXERCISE.stage("gradients")
def _gradients(answer: Any, seed: int) -> None:
    for kind, config in (
        ("qwen3_moe", {"norm_topk_prob": True}),
        ("deepseek_v3", {}),
    ):
        config = {"model_type": kind, "num_experts_per_tok": 2, **config}
        tensors = drawn(kind, 4, seed, shared=kind == "deepseek_v3")
        given = {"tensors": tensors, "config": config, "x": tokens(seed, 5)}
        require_gradients(answer, defined, given, seed=seed)
