"""Chapter 06: a router collapses, and what each cure costs, on a toy and in a language model."""

from moe_teach.chapters.ch06_load_balancing.experiments.alike import (
    LIKENESS,
    likeness,
    measure_likeness,
)
from moe_teach.chapters.ch06_load_balancing.experiments.causal import CAUSAL, measure_causal
from moe_teach.chapters.ch06_load_balancing.experiments.kinds import (
    KINDS,
    METHODS,
    STRENGTHS,
    Setting,
    measure_kinds,
    rows_per_expert,
    strength_name,
    tokens_of_kinds,
    total_loss,
    train_kinds,
)
from moe_teach.chapters.ch06_load_balancing.experiments.longer import (
    CAUSES,
    CURES,
    LENGTHS,
    NARROW,
    RATES,
    SEARCH_SEEDS,
    measure_longer,
)
from moe_teach.chapters.ch06_load_balancing.experiments.replay import (
    LONG,
    REPLAYED,
    Recorder,
    measure_replay,
)
from moe_teach.chapters.ch06_load_balancing.experiments.text import (
    TEXT,
    TextSetting,
    measure_text,
    recent_load,
    summary,
    train_text,
)
from moe_teach.chapters.ch06_load_balancing.experiments.text_longer import (
    BEST,
    COMPARED,
    HORIZONS,
    SEARCHED,
    measure_text_for,
)
from moe_teach.train.experiment import Experiment
from moe_teach.train.horizons import search

__all__ = [
    "BEST",
    "CAUSES",
    "COMPARED",
    "EXPERIMENTS",
    "LENGTHS",
    "METHODS",
    "REPLAYED",
    "SEARCH_SEEDS",
    "SEEDS",
    "STRENGTHS",
    "TEXT",
    "Recorder",
    "Setting",
    "TextSetting",
    "likeness",
    "recent_load",
    "rows_per_expert",
    "strength_name",
    "summary",
    "tokens_of_kinds",
    "total_loss",
    "train_kinds",
    "train_text",
]

SEEDS = (0, 1, 2, 3, 4)
ALL_SEEDS = SEEDS + SEARCH_SEEDS
EXPERIMENTS = (
    Experiment(
        "06_kinds",
        "Does a router collapse for every seed, what cures it, and what does each strength cost?",
        KINDS,
        measure_kinds,
        SEEDS,
    ),
    *(
        Experiment(name, purpose, search(trials, LENGTHS[-1:], RATES), measure_longer, ALL_SEEDS)
        for name, purpose, trials in (
            (
                "06_causes",
                "What makes the router of the toy collapse? One thing at a time.",
                CAUSES,
            ),
            ("06_cures", "Do the cures make a better model, at up to ten times the steps?", CURES),
            ("06_narrow", "Does a router in bfloat16 need the z-loss in a long run?", NARROW),
        )
    ),
    Experiment(
        "06_text",
        "What does imbalance cost a small language model: loss, or only utilisation?",
        TEXT,
        measure_text,
        SEEDS,
    ),
    Experiment(
        "06_text_rates",
        "Which learning rate does each way of balancing like best in the language model?",
        SEARCHED,
        measure_text_for,
        (10,),
    ),
    Experiment(
        "06_text_horizons",
        "Does imbalance cost the language model loss, at 250, 750 and 2,500 steps and own rates?",
        HORIZONS,
        measure_text_for,
        SEEDS,
    ),
    Experiment(
        "06_likeness",
        "Do the tokens of the language model look alike when its routers collapse?",
        LIKENESS,
        measure_likeness,
        SEEDS,
    ),
    Experiment(
        "06_causal",
        "Does expert choice lose without the future, or because its test is not its training?",
        CAUSAL,
        measure_causal,
        SEEDS,
    ),
    Experiment(
        "06_replay",
        "How does a layer of the language model fill up, step by step? One seed, to look at.",
        LONG,
        measure_replay,
        (0,),
    ),
)
