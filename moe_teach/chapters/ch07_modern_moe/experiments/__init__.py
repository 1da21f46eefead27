"""Chapter 07: granularity and its neighbours on the memory task, balance scopes on real text."""

from dataclasses import replace

from moe_teach.chapters.ch07_modern_moe.experiments.memory import (
    Design,
    MemoryNet,
    kilobits,
    lessons,
    memorise,
    memorise_for,
)
from moe_teach.chapters.ch07_modern_moe.experiments.scopes import Balance, domain_bits, speak
from moe_teach.train.experiment import Experiment
from moe_teach.train.horizons import chosen, search

__all__ = [
    "BEST",
    "BEST_9000",
    "DESIGNS",
    "EXPERIMENTS",
    "RATES",
    "SCOPES",
    "Balance",
    "Design",
    "MemoryNet",
    "domain_bits",
    "kilobits",
    "lessons",
    "memorise",
    "speak",
]

_RAW = {"normalize_gates": False}  # a lone gate that must be 1 teaches the router nothing
_SIGMOID = {"score_fn": "sigmoid", "load_balance_coef": 0.0}
_GENTLE = {**_SIGMOID, "bias_update_rate": 0.001}  # the step of Wang et al. and of DeepSeek-V3
_BRISK = {**_SIGMOID, "bias_update_rate": 0.01}

# Every design asks 64 hidden units per token; those with experts hold 512.
GRANULARITY = {
    "dense, same active": Design(d_ff=64),
    "dense, same FLOPs as 64 experts with router": Design(d_ff=96),
    "dense, same total": Design(d_ff=512),
    "8 top-1": Design(d_ff=64, n_experts=8, top_k=1, **_RAW),
    "16 top-2": Design(d_ff=32, n_experts=16, top_k=2),
    "32 top-4": Design(d_ff=16, n_experts=32, top_k=4),
    "64 top-8": Design(d_ff=8, n_experts=64, top_k=8),
    "31 top-3 + 1 shared": Design(d_ff=16, n_experts=31, top_k=3, n_shared=1),
}

NEIGHBOURS = {
    "8 top-1, gate renormalised": Design(d_ff=64, n_experts=8, top_k=1),
    "8, random expert": Design(d_ff=64, n_experts=8, top_k=1, rule="random", load_balance_coef=0.0),
    "8, fixed hash": Design(d_ff=64, n_experts=8, top_k=1, rule="hash", load_balance_coef=0.0),
    "16 top-2, raw gates": Design(d_ff=32, n_experts=16, top_k=2, **_RAW),
    "32 top-4, sigmoid": Design(d_ff=16, n_experts=32, top_k=4, **_SIGMOID),
    "32 top-4, sigmoid + bias 0.001": Design(d_ff=16, n_experts=32, top_k=4, **_GENTLE),
    "32 top-4, sigmoid + bias 0.01": Design(d_ff=16, n_experts=32, top_k=4, **_BRISK),
    "32 top-4, no balancing": Design(d_ff=16, n_experts=32, top_k=4, load_balance_coef=0.0),
    "64 top-8, 4 of 8 groups": Design(d_ff=8, n_experts=64, top_k=8, n_groups=8, top_groups=4),
    "64 top-8, 2 of 8 groups": Design(d_ff=8, n_experts=64, top_k=8, n_groups=8, top_groups=2),
    "64 top-8, DeepSeek-V3 rule": Design(
        d_ff=8, n_experts=64, top_k=8, n_groups=8, top_groups=4, **_GENTLE
    ),
}

DESIGNS = GRANULARITY | NEIGHBOURS

_TOP_1 = Design(d_ff=64, n_experts=8, top_k=1, load_balance_coef=0.0)
LONGER = {
    **{
        name: DESIGNS[name]
        for name in (
            "8 top-1",
            "16 top-2",
            "16 top-2, raw gates",
            "32 top-4",
            "dense, same total",
            "dense, same active",
            "32 top-4, no balancing",
            "32 top-4, sigmoid",
            "8, fixed hash",
        )
    },
    # What is it about the hash? Each of these takes one thing away.
    "8, hash of half the key": replace(_TOP_1, rule="half hash"),
    "8, fixed sum of scores": replace(_TOP_1, rule="sum rule"),
    "8, fixed hash, gate p": replace(_TOP_1, rule="weighed hash", **_RAW),
}
BESIDE = {
    name: DESIGNS[name]
    for name in (
        "64 top-8",
        "31 top-3 + 1 shared",
        "32 top-4, sigmoid + bias 0.001",
        "32 top-4, sigmoid + bias 0.01",
        "64 top-8, 4 of 8 groups",
        "64 top-8, 2 of 8 groups",
        "64 top-8, DeepSeek-V3 rule",
        "8, random expert",
    )
}
# Neither 0.001 nor 0.01 evens out the load where each design has a rate of its own.
BESIDE["32 top-4, sigmoid + bias 0.003"] = replace(
    DESIGNS["32 top-4, sigmoid"], bias_update_rate=0.003
)
AT_2700 = {
    name: (LONGER | BESIDE)[name]
    for name in (
        "8 top-1",
        "16 top-2",
        "32 top-4",
        "dense, same total",
        "31 top-3 + 1 shared",
        "32 top-4, no balancing",
        "32 top-4, sigmoid",
        "8, fixed hash",
        "8, fixed hash, gate p",
        "64 top-8",
        "32 top-4, sigmoid + bias 0.001",
        "32 top-4, sigmoid + bias 0.01",
        "32 top-4, sigmoid + bias 0.003",
        "64 top-8, 4 of 8 groups",
        "64 top-8, 2 of 8 groups",
        "64 top-8, DeepSeek-V3 rule",
    )
}
AT_9000 = {name: LONGER[name] for name in ("32 top-4, no balancing", "32 top-4, sigmoid")}
RATES = (0.02, 0.04, 0.08, 0.16)
_SLOW = ("8 top-1", "dense, same total")
BEST = {
    900: {name: 0.04 if name in _SLOW else 0.08 for name in (*LONGER, *BESIDE)},
    2700: dict.fromkeys(AT_2700, 0.08)
    | {
        "16 top-2": 0.04,
        "dense, same total": 0.16,
        "31 top-3 + 1 shared": 0.04,
        "32 top-4, sigmoid + bias 0.003": 0.16,
    },
}
"""Steps -> design -> the best of four rates (`07_rates`, `07_rates_beside`, `07_rates_longer`)."""
BEST_9000 = {"8 top-1": 0.08, "16 top-2": 0.04}
"""The rate of 2,700 steps: at this length it was not searched for these two."""

SCOPES = {
    "global batch": Balance(),
    "micro-batches of 4": Balance(scope="micro_batch", accumulate=4),
    "each sequence": Balance(scope="sequence"),
    "no balancing": Balance(load_balance_coef=0.0),
    "sigmoid + bias": Balance(load_balance_coef=0.0, score_fn="sigmoid", bias_update_rate=0.003),
}

EXPERIMENTS = (
    Experiment(
        name="07_granularity",
        purpose="bits stored at equal active FLOPs and parameters, by granularity",
        settings=GRANULARITY,
        run=memorise,
        seeds=(0, 1, 2, 3, 4),
    ),
    Experiment(
        name="07_neighbours",
        purpose="bits stored with other rules of routing, and the controls that must fail",
        settings=NEIGHBOURS,
        run=memorise,
    ),
    Experiment(
        name="07_rates",
        purpose="which learning rate each design likes best in 900 steps",
        settings=search(LONGER, (900,), RATES),
        run=memorise_for,
        seeds=(10, 11),
    ),
    Experiment(
        name="07_rates_beside",
        purpose="the same for the neighbours, on one seed: seeds differ by less than rates do",
        settings=search(BESIDE, (900,), RATES),
        run=memorise_for,
        seeds=(10,),
    ),
    Experiment(
        name="07_rates_longer",
        purpose="the same in 2,700 steps, on one seed",
        settings=search(AT_2700, (2700,), RATES),
        run=memorise_for,
        seeds=(10,),
    ),
    Experiment(
        name="07_rates_longest",
        purpose="two designs in 9,000 steps at two rates, on one seed: both reach the ceiling",
        settings=search(AT_9000, (9000,), (0.04, 0.08)),
        run=memorise_for,
        seeds=(10,),
    ),
    Experiment(
        name="07_horizons",
        purpose="bits stored in 900 and 2,700 steps, each design at its best rate",
        settings=chosen(LONGER | BESIDE, BEST),
        run=memorise_for,
        seeds=(0, 1, 2, 3, 4),
    ),
    Experiment(
        name="07_horizons_longest",
        purpose="two designs in 9,000 steps, at the rates of 2,700; two seeds",
        settings=chosen(LONGER, {9000: BEST_9000}),
        run=memorise_for,
        seeds=(0, 1),
    ),
    Experiment(
        name="07_balance_scope",
        purpose="loss and domain information of five ways to balance a small language model",
        settings=SCOPES,
        run=speak,
    ),
)
