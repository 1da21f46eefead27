"""Chapter 11: routers read at several lengths of training, and a rare domain under capacity."""

from moe_teach.chapters.ch11_reading_the_router.experiments.cells import (
    DOMAINS,
    DROPS,
    DROPS_LONG,
    DROPS_RATES,
    FACTORS,
    LENGTHS,
    ROUTES,
    ROUTES_LONG,
    ROUTES_RATES,
    SCOPE,
    measure_drops,
    measure_routes,
)
from moe_teach.train.experiment import Experiment

__all__ = ["DOMAINS", "EXPERIMENTS", "FACTORS", "LENGTHS", "SEEDS"]

SEEDS = (0, 1, 2, 3, 4)
EXPERIMENTS = (
    Experiment(
        "11_routes",
        "What do experts tell of the domain, beyond chance, an untrained router and the token?",
        ROUTES,
        measure_routes,
        SEEDS,
    ),
    Experiment(
        "11_routes_long",
        "The same after ten times the lesson's steps.",
        ROUTES_LONG,
        measure_routes,
        SEEDS[:3],
    ),
    Experiment(
        "11_routes_rates",
        "Do the routes tell the same of models that learned at other rates?",
        ROUTES_RATES,
        measure_routes,
        SEEDS[:3],
    ),
    Experiment(
        "11_scope",
        "Does balancing within each sequence take the domain out of the routes?",
        SCOPE,
        measure_routes,
        SEEDS[:3],
    ),
    Experiment(
        "11_drops",
        "Who loses tokens under capacity when two domains were rare in training, or none was?",
        DROPS,
        measure_drops,
        SEEDS,
    ),
    Experiment(
        "11_drops_long",
        "The rare domains after ten times the lesson's steps.",
        DROPS_LONG,
        measure_drops,
        SEEDS[:3],
    ),
    Experiment(
        "11_drops_rates",
        "Are the rare domains turned away at other rates, too?",
        DROPS_RATES,
        measure_drops,
        SEEDS[:3],
    ),
)
