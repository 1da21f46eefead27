"""Counters of active parameters for exercise 1.7: right ones, and wrong ones of published kinds.

A counter takes a dictionary of sizes, one layer's kind a group of names, and gives an integer. The
wrong ones count rightly for the wrong sizes: each fault is a change of the sizes, or a part that
is missing from the sum. Where a kind was published, the explanation of the exercise says where.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

Sizes = dict[str, int]
Counter = Callable[[Sizes], int]

MIXTRAL: Sizes = {
    "n_layers": 32,
    "n_dense_layers": 0,
    "d_model": 4096,
    "vocab_size": 32_000,
    "is_tied": False,
    "n_heads": 32,
    "n_kv_heads": 8,
    "d_head": 128,
    "d_ff_dense": 14_336,
    "d_ff": 14_336,
    "n_experts": 8,
    "top_k": 2,
    "n_shared_experts": 0,
}


def count_by_formula(sizes: Sizes) -> int:
    """Count what works on one token, the input table included."""
    width, n_layers = sizes["d_model"], sizes["n_layers"]
    n_sparse = n_layers - sizes["n_dense_layers"]
    n_heads = 2 * sizes["n_heads"] + 2 * sizes["n_kv_heads"]
    n_rows = sizes["vocab_size"] * (1 if sizes["is_tied"] else 2)
    n_rows += n_layers * n_heads * sizes["d_head"] + 2 * n_layers + 1
    n_rows += sizes["n_dense_layers"] * 3 * sizes["d_ff_dense"]
    n_at_work = sizes["top_k"] + sizes["n_shared_experts"]
    return width * (n_rows + n_sparse * (sizes["n_experts"] + n_at_work * 3 * sizes["d_ff"]))


def count_layer_by_layer(sizes: Sizes) -> int:
    """Walk through the layers, as a module tree would be walked."""
    width = sizes["d_model"]
    total = width + sizes["vocab_size"] * width
    if not sizes["is_tied"]:
        total += sizes["vocab_size"] * width
    for layer in range(sizes["n_layers"]):
        total += 2 * width
        for heads in ("n_heads", "n_kv_heads"):
            total += 2 * width * sizes[heads] * sizes["d_head"]
        if layer < sizes["n_dense_layers"]:
            total += 3 * width * sizes["d_ff_dense"]
            continue
        total += sizes["n_experts"] * width
        total += 3 * width * sizes["d_ff"] * (sizes["top_k"] + sizes["n_shared_experts"])
    return total


def count_what_rests(sizes: Sizes) -> int:
    """Take the experts that rest from everything that is stored."""
    everyone = sizes | {"top_k": sizes["n_experts"]}
    n_sparse = sizes["n_layers"] - sizes["n_dense_layers"]
    n_resting = n_sparse * (sizes["n_experts"] - sizes["top_k"])
    return count_by_formula(everyone) - n_resting * 3 * sizes["d_model"] * sizes["d_ff"]


RIGHT: tuple[Counter, ...] = (count_by_formula, count_layer_by_layer, count_what_rests)


@dataclass(frozen=True)
class Fault:
    """One way to miscount: sizes that are taken for others, or what is left out of the sum."""

    stage: str
    cause: str
    cure: str
    mistaken: Callable[[Sizes], Sizes] = field(default=lambda sizes: {})
    missing: Callable[[Sizes], int] = field(default=lambda sizes: 0)

    def count(self, sizes: Sizes) -> int:
        """Count wrongly."""
        return count_by_formula(sizes | self.mistaken(sizes)) - self.missing(sizes)


FAULTS = (
    Fault(
        "experts",
        "It lets every expert work on every token.",
        "With n_experts above top_k the two must differ; Mixtral's own sizes show it.",
        mistaken=lambda s: {"top_k": s["n_experts"]},
    ),
    Fault(
        "experts",
        "It leaves the shared experts out.",
        "Mixtral has none of them: ask about sizes that have.",
        mistaken=lambda s: {"n_shared_experts": 0},
    ),
    Fault(
        "experts",
        "It counts one shared expert, however many there are.",
        "Nobody sees that with none or one: ask about two or more.",
        mistaken=lambda s: {"n_shared_experts": min(1, s["n_shared_experts"])},
    ),
    Fault(
        "experts",
        "It takes the shared experts for some of the top_k, and does not add them.",
        "Ask about sizes with shared experts, and add them to the top_k in your own count.",
        mistaken=lambda s: {"top_k": max(0, s["top_k"] - s["n_shared_experts"])},
    ),
    Fault(
        "experts",
        "It gives the experts the inner width of the dense layers.",
        "Let d_ff and d_ff_dense be different numbers.",
        mistaken=lambda s: {"d_ff": s["d_ff_dense"]},
    ),
    Fault(
        "layers",
        "It counts every layer as a sparse one.",
        "Ask about sizes with n_dense_layers above zero.",
        mistaken=lambda s: {"n_dense_layers": 0},
    ),
    Fault(
        "layers",
        "It counts the first layer alone as dense, however many are.",
        "Ask about sizes with two dense layers or more.",
        mistaken=lambda s: {"n_dense_layers": min(1, s["n_dense_layers"])},
    ),
    Fault(
        "layers",
        "It gives the dense layers the inner width of an expert.",
        "Ask about sizes with dense layers, and with d_ff_dense other than d_ff.",
        mistaken=lambda s: {"d_ff_dense": s["d_ff"]},
    ),
    Fault(
        "attention and tables",
        "It gives every query head a key and a value head of its own.",
        "Let n_kv_heads be smaller than n_heads.",
        mistaken=lambda s: {"n_kv_heads": s["n_heads"]},
    ),
    Fault(
        "attention and tables",
        "It gives the input table and the output matrix one set of weights, always.",
        "Ask about sizes that are not tied.",
        mistaken=lambda s: {"is_tied": True},
    ),
    Fault(
        "attention and tables",
        "It gives the input table and the output matrix weights of their own, always.",
        "Ask about sizes that are tied.",
        mistaken=lambda s: {"is_tied": False},
    ),
    Fault(
        "small parts",
        "It counts the router's rows of the chosen experts only.",
        "The difference is small: compare exactly, with == and no tolerance.",
        missing=lambda s: (
            (s["n_layers"] - s["n_dense_layers"]) * (s["n_experts"] - s["top_k"]) * s["d_model"]
        ),
    ),
    Fault(
        "small parts",
        "It forgets the norm after the last layer.",
        "The difference is d_model parameters: compare exactly, with == and no tolerance.",
        missing=lambda s: s["d_model"],
    ),
)
