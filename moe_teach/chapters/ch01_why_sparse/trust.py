"""Exercise 1.7: find what is wrong: a counter that agrees on Mixtral."""

from typing import Any

from moe_teach.chapters.ch01_why_sparse.counters import FAULTS, MIXTRAL, RIGHT, Counter, Sizes
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="1.7",
    name="trust",
    title="Find what is wrong: a counter that agrees on Mixtral",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("1.1", "1.2"),
    hints=(
        "Mend the counter first. Exercise 1.1 says how wide a head is, and what it need not equal.",
        "Your mended counter is one half of the test, the sizes are the other half. Mixtral hides "
        "faults because some of its sizes are equal, or zero, or multiples of each other.",
        "Draw the thirteen sizes at random, many times, so that no two are equal for long; see to "
        "it that n_layers exceeds n_dense_layers and n_experts exceeds top_k, and let is_tied be "
        "true half of the time. Trust a counter that equals yours each time.",
    ),
    explanation="A test is as good as its inputs. Sizes that are equal hide names that were "
    "exchanged, and zeros hide what was left out. Published faults of these kinds: a head's width "
    "taken from d_model / n_heads (pytorch/torchtitan, issue 1920; NVIDIA-NeMo/RL, pull request "
    "2736); all experts at work (AI-Hypercomputer/maxtext, pull request 678); the dense width for "
    "the experts (OpenSparseLLMs/Linear-MoE, pull request 17); one shared expert whatever the "
    "number (jingyaogong/minimind, issue 129); tied tables taken for granted (jranaraki/vllm-fit, "
    "issue 27). And beware of an oracle by the same hand: in AI-Hypercomputer/maxtext, pull "
    "request 4017, the test repeated the width that the counter had wrong, so that both agreed. "
    "It is anchored to a published count now, as ours is to Mixtral's.",
)


def count_at_work(sizes: Sizes) -> int:
    """Count the parameters that work on one token, the input table included."""
    d_model, n_layers, n_dense = sizes["d_model"], sizes["n_layers"], sizes["n_dense_layers"]
    tables = sizes["vocab_size"] * d_model * (1 if sizes["is_tied"] else 2)
    queries_and_output = 2 * d_model * d_model
    keys_and_values = 2 * d_model * sizes["n_kv_heads"] * (d_model // sizes["n_heads"])
    norms = (2 * n_layers + 1) * d_model
    expert = 3 * d_model * sizes["d_ff"]
    at_work = (sizes["top_k"] + sizes["n_shared_experts"]) * expert
    router = sizes["n_experts"] * d_model
    dense = 3 * d_model * sizes["d_ff_dense"]
    attention = n_layers * (queries_and_output + keys_and_values)
    return tables + attention + norms + n_dense * dense + (n_layers - n_dense) * (router + at_work)


def _asked_sensibly(counter: Counter) -> Counter:
    """Hand out a counter that turns away sizes which belong to no model."""

    def count(sizes: Sizes) -> int:
        missing = [name for name in MIXTRAL if name not in sizes]
        require(
            not missing,
            f"Your test asks a counter about sizes that lack {', '.join(missing)}.",
            cause="A counter reads all thirteen keys.",
            cure='Begin with MIXTRAL and change what you like: MIXTRAL | {"d_ff": 5}.',
        )
        may_be_zero = ("n_dense_layers", "n_shared_experts", "is_tied")
        require(
            all(sizes[name] >= (name not in may_be_zero) for name in MIXTRAL)
            and sizes["n_dense_layers"] <= sizes["n_layers"]
            and sizes["top_k"] <= sizes["n_experts"],
            "Your test asks a counter about a model that cannot exist, and nobody knows what is "
            "right there.",
            cause="There are more dense layers than layers, more choices than experts, or a size "
            "below its least value.",
            cure="Add the one to the other, as in n_layers = 3 + n_dense_layers.",
            example=dict(sizes),
        )
        return counter(sizes)

    return count


def _verdict(answer: Any, counter: Counter) -> bool:
    got = answer(_asked_sensibly(counter))
    require(
        isinstance(got, bool) or type(got).__name__ == "bool_",
        f"The answer is neither True nor False, but of type {type(got).__name__}.",
        cause="A count was returned, or a list of comparisons that `all(...)` never joined.",
        cure="End in `return True`, reached if no comparison failed.",
        expected=Words("True or False"),
        got=got,
    )
    return bool(got)


@EXERCISE.stage("a yes or a no")
def _is_a_verdict(answer: Any, _seed: int) -> None:
    for counter in (RIGHT[0], count_at_work):
        _verdict(answer, counter)


@EXERCISE.stage("right counters are trusted")
def _trusts_right_ones(answer: Any, _seed: int) -> None:
    also = ", and trusts the wrong one of the cell" if _verdict(answer, count_at_work) else ""
    for counter in RIGHT:
        require(
            _verdict(answer, counter),
            f"Your test turns away a counter that is right for every model{also}.",
            cause="Your own count differs from it: for a model with a head's width of its own, "
            "with dense layers, with shared experts, or with tied tables. Or the sizes contradict "
            "each other, as with more dense layers than layers.",
            cure="Compare your count with the numbers of Mixtral (12,879,925,248) and of "
            'MIXTRAL | {"d_head": 64, "n_shared_experts": 1} (17,845,981,184).',
            expected=True,
            got=False,
        )


@EXERCISE.stage("the counter of the cell")
def _turns_the_shown_one_away(answer: Any, _seed: int) -> None:
    require(
        not _verdict(answer, count_at_work),
        "Your test trusts the counter of the cell above, which is wrong for some models.",
        cause="On Mixtral it is right. Whatever your test asks, it does not reach the sizes where "
        "the two part.",
        cure="The width of all heads together need not be that of the model: choose d_head freely.",
        expected=False,
        got=True,
    )


def _turns_away(answer: Any, stage: str) -> None:
    for fault in FAULTS:
        if fault.stage == stage:
            require(
                not _verdict(answer, fault.count),
                "Your test trusts a counter that is wrong for some models.",
                cause=fault.cause,
                cure=fault.cure,
                expected=False,
                got=True,
            )


@EXERCISE.stage("experts")
def _wrong_experts(answer: Any, _seed: int) -> None:
    _turns_away(answer, "experts")


@EXERCISE.stage("layers")
def _wrong_layers(answer: Any, _seed: int) -> None:
    _turns_away(answer, "layers")


@EXERCISE.stage("attention and tables")
def _wrong_attention(answer: Any, _seed: int) -> None:
    _turns_away(answer, "attention and tables")


@EXERCISE.stage("small parts")
def _wrong_small_parts(answer: Any, _seed: int) -> None:
    _turns_away(answer, "small parts")
