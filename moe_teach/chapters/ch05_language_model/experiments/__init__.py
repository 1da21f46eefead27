"""Chapter 05: dense against sparse on facts, sums and text, and what a longer run changes."""

from moe_teach.chapters.ch05_language_model.experiments.ladder import (
    ACTIVE_WIDTH,
    FACTS,
    LENGTH,
    MAIN,
    TOTAL_WIDTH,
    RandomRouter,
    Setting,
    WeighedHash,
    build_data,
    build_model,
    facts_of,
    ladder,
    measure,
    measure_gently,
    measure_prices,
    model_config,
    only,
    run_setting,
    time_steps,
)
from moe_teach.chapters.ch05_language_model.experiments.longer import (
    COMPARED,
    HORIZONS,
    RATES,
    SEARCHED,
    measure_for,
)
from moe_teach.train.experiment import Experiment

__all__ = [
    "ACTIVE_WIDTH",
    "COMPARED",
    "EXPERIMENTS",
    "FACTS",
    "LENGTH",
    "MAIN",
    "RATES",
    "TOTAL_WIDTH",
    "RandomRouter",
    "Setting",
    "WeighedHash",
    "build_data",
    "build_model",
    "facts_of",
    "measure",
    "measure_prices",
    "model_config",
    "run_setting",
    "time_steps",
]

EXPERIMENTS = (
    Experiment(
        "05_facts",
        "Dense against 16 experts at equal active size, on facts to remember.",
        only(FACTS, *MAIN),
        measure,
        seeds=(0, 1, 2, 3, 4),
    ),
    Experiment(
        "05_experts",
        "The same facts: other numbers of experts, other routers, larger and longer dense models.",
        {name: setting for name, setting in FACTS.items() if name not in MAIN},
        measure,
    ),
    Experiment(
        "05_sums",
        "The same models on sums of unseen numbers, where there is a rule to find.",
        ladder("sums"),
        measure,
    ),
    Experiment(
        "05_text",
        "The same models on the four domains of the corpus, without the wide one.",
        only(ladder("text"), *MAIN, "16 experts, hash"),
        measure,
    ),
    Experiment(
        "05_recipe",
        "Three models on the facts at half the learning rate.",
        {name: name for name in (*MAIN, "dense, equal total")},
        measure_gently,
    ),
    Experiment(
        "05_prices",
        "The time of a training step of each model, measured in turns.",
        {"milliseconds": tuple(ladder("facts"))},
        measure_prices,
    ),
    Experiment(
        "05_rates",
        "Which learning rate each model of the facts likes best, on seeds of its own.",
        SEARCHED,
        measure_for,
        seeds=(10, 11),
    ),
    Experiment(
        "05_horizons",
        "The facts in 800, 2,400 and 8,000 steps, each model at its best rate.",
        HORIZONS,
        measure_for,
        seeds=(0, 1, 2, 3, 4),
    ),
)
