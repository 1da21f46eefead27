"""Chapter 01, exercise 1.1: count what a model stores."""

import random
from numbers import Integral, Number
from typing import Any

from moe_teach.catalog import CATALOG
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.judging.exercise import Exercise, require

KEYS = ("input_embedding", "output_head", "attention", "norms", "router", "experts")
# layers, d_model, vocabulary, heads, key heads, d_head, experts, top_k, d_ff
SIZES = (
    (1, 3, 5, 1, 1, 2, 1, 1, 1),
    (1, 5, 7, 2, 2, 4, 3, 1, 11),
    (3, 7, 11, 4, 2, 6, 5, 2, 13),
    (5, 11, 13, 6, 2, 4, 7, 3, 17),
    (61, 7163, 129_277, 128, 16, 126, 257, 8, 2053),  # odd, and past 32 bits and a float's 24
)


def _config(sizes: tuple[int, ...], seed: int) -> ModelConfig:
    n_layers, d_model, vocabulary, heads, key_heads, d_head, n_experts, top_k, d_ff = sizes
    draw = random.Random(f"{sizes} {seed}")
    return ModelConfig(
        n_layers=n_layers,
        d_model=d_model + 2 * draw.randrange(3),
        vocab_size=vocabulary + draw.randrange(5),
        attention=AttentionConfig(n_heads=heads, n_kv_heads=key_heads, d_head=d_head),
        moe=MoEConfig(router=RouterConfig(n_experts=n_experts, top_k=top_k), d_ff=d_ff),
    )


def _example(config: ModelConfig) -> dict[str, Any]:
    attention, moe = config.attention, config.moe
    assert moe is not None
    return {
        "n_layers, d_model, vocab_size": (config.n_layers, config.d_model, config.vocab_size),
        "n_heads, n_kv_heads, d_head": (attention.n_heads, attention.n_kv_heads, attention.d_head),
        "n_experts, d_ff": (moe.router.n_experts, moe.d_ff),
    }


def require_integer(got: Any, what: str, example: dict[str, Any]) -> None:
    """Reject anything but a whole number of an integer kind."""
    require(
        isinstance(got, Number) and not isinstance(got, bool),
        f"{what} is no number, but of type {type(got).__name__}.",
        cause="A whole dictionary, a list or a tensor was returned where a count belongs.",
        cure="Add the parts up with `sum(...)`, and return the plain number.",
        got=got,
        example=example,
    )
    require(
        isinstance(got, Integral),
        f"{what} came as a float.",
        cause="`/` gives a float, even of whole numbers, and counts of large models exceed what a "
        "float holds exactly.",
        cure="Use // where you divide, and whole numbers everywhere else.",
        got=got,
        example=example,
    )


def require_exact(got: Any, expected: int, example: dict[str, Any]) -> None:
    """Reject a count that only lost its digits, in 32 bits or in a float."""
    wrapped = (expected + 2**31) % 2**32 - 2**31
    tell = {"expected": expected, "got": got, "example": example}
    require(
        got == expected or got != wrapped,
        "This is the right number, cut to 32 bits.",
        cause="Integers of 32 bits hold no more than 2.1 billion, and begin anew beyond it.",
        cure="Count in Python's own integers, which have no limit, or in int64.",
        **tell,
    )
    require(
        got == expected or abs(got - expected) > 1e-6 * expected or expected < 10**7,
        "This is the right number but for its last digits.",
        cause="A float came in between: it holds 16 digits (in float32, 7), a share such as 1 / 49 "
        "is rounded, and `int(...)` drops what is a hair short of a whole number.",
        cure="Stay in whole numbers: // instead of / and `int(...)`, wherever it divides evenly.",
        **tell,
    )


EXERCISE = Exercise(
    id="1.1",
    name="count_parts",
    title="Count a model from its shapes",
    points=2,
    difficulty=2,
    importance=5,
    minutes=15,
    hints=(
        "Write each matrix of one layer as rows times columns, add them, and multiply by the "
        "number of layers. Only the two vocabulary tables and the last norm stand once.",
        "Attention: d_model x (n_heads d_head) for queries, the same for the output, and "
        "d_model x (n_kv_heads d_head) twice, for keys and values. An expert: three times "
        "d_model x d_ff. The router: n_experts x d_model.",
        '"attention": n_layers * d_model * (2 * n_heads * d_head + 2 * n_kv_heads * d_head); '
        '"norms": (2 * n_layers + 1) * d_model; "router": n_layers * n_experts * d_model; '
        '"experts": n_layers * n_experts * 3 * d_model * d_ff; each table: vocab_size * d_model.',
    ),
    explanation="Nothing here was trained or downloaded: shapes alone give 46.7 billion for "
    "Mixtral 8x7B, and 97 % of them are experts. It is not eight times a 7-billion model, because "
    "attention, norms and tables exist once.",
)


@EXERCISE.stage("keys")
def _parts_keys(answer: Any, seed: int) -> None:
    config = _config(SIZES[0], seed)
    got = answer(config)
    require(
        isinstance(got, dict),
        f"The answer is no dictionary, but of type {type(got).__name__}.",
        cause="The parts were added up, or returned without their names.",
        cure='Return {"input_embedding": ..., "output_head": ..., ...}: six keys, six counts.',
        got=got,
        example=_example(config),
    )
    missing = [key for key in KEYS if key not in got]
    extra = [key for key in got if key not in KEYS]
    require(
        not missing and not extra,
        "These are not the six keys of the exercise. Missing: "
        f"{missing or 'none'}; not asked for: {extra or 'none'}.",
        cause="A key is mistyped, forgotten, or one too many (a total, say).",
        cure=f"Use exactly these: {', '.join(KEYS)}.",
        expected=list(KEYS),
        got=list(got),
    )
    for key in KEYS:
        require_integer(got[key], f'"{key}"', _example(config))


def _compare(answer: Any, seed: int, keys: tuple[str, ...], cause: str, cure: str) -> None:
    from moe_teach.cost import count_params

    for sizes in SIZES:
        config = _config(sizes, seed)
        count = count_params(config)
        expected = {
            "input_embedding": count.input_embedding,
            "output_head": count.output_head,
            "attention": count.attention,
            "norms": count.vectors,
            "router": count.routers,
            "experts": count.routed_experts,
        }
        got = answer(config)
        for key in keys:
            require(
                config.n_layers == 1 or got.get(key) != expected[key] / config.n_layers,
                f'"{key}" is the count of one layer.',
                cause="Every layer has its own.",
                cure="Multiply by n_layers.",
                expected=expected[key],
                got=got.get(key),
                example=_example(config),
            )
            require_exact(got.get(key), expected[key], _example(config))
            require(
                got.get(key) == expected[key],
                f'"{key}" is another number.',
                cause=cause,
                cure=cure,
                expected=expected[key],
                got=got.get(key),
                example=_example(config),
            )


@EXERCISE.stage("tables")
def _parts_tables(answer: Any, seed: int) -> None:
    cause = (
        "Each of the two tables stands once, not in every layer, and this model does not tie "
        "them: the output has a matrix of its own."
    )
    cure = "Both are vocab_size * d_model."
    _compare(answer, seed, ("input_embedding", "output_head"), cause, cure)


@EXERCISE.stage("attention")
def _parts_attention(answer: Any, seed: int) -> None:
    cause = (
        "There are four matrices a layer: queries and output for n_heads heads, keys and values "
        "for n_kv_heads heads only, none with a bias. The width of a head is d_head, which need "
        "not be d_model / n_heads."
    )
    cure = (
        "Write the four one by one, d_model times (n_heads or n_kv_heads) * d_head each; then add, "
        "and multiply by n_layers."
    )
    _compare(answer, seed, ("attention",), cause, cure)


@EXERCISE.stage("norms and router")
def _parts_small(answer: Any, seed: int) -> None:
    cause = "A norm has d_model weights: two of them in each layer and one after the last layer."
    cure = "There are 2 * n_layers + 1 norms: multiply by d_model."
    _compare(answer, seed, ("norms",), cause, cure)
    cause = "The router of a layer has one row of d_model weights for each expert, and no bias."
    cure = "Multiply n_layers, n_experts and d_model."
    _compare(answer, seed, ("router",), cause, cure)


@EXERCISE.stage("experts")
def _parts_experts(answer: Any, seed: int) -> None:
    cause = (
        "All n_experts of every layer are stored, not only the top_k that are used, and a SwiGLU "
        "expert has three matrices of d_model x d_ff."
    )
    cure = "Multiply n_layers, n_experts, 3, d_model and d_ff."
    _compare(answer, seed, ("experts",), cause, cure)


@EXERCISE.stage("Mixtral 8x7B")
def _parts_mixtral(answer: Any, seed: int) -> None:
    total = sum(answer(CATALOG["Mixtral 8x7B"].config).values())
    require(
        total == 46_702_792_704,
        "The parts of Mixtral 8x7B do not add up to its 46.7 billion.",
        cause="Something in the count fits the small examples only.",
        cure="Take every size from `config`, and none as a number of your own.",
        expected=46_702_792_704,
        got=total,
    )
