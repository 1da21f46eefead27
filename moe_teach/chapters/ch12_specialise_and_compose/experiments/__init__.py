"""Chapter 12: upcycling, composing and swapping, and training parts, each at several lengths."""

from collections.abc import Callable, Mapping
from typing import Any

from moe_teach.chapters.ch12_specialise_and_compose.experiments import compose, targeted, upcycle
from moe_teach.chapters.ch12_specialise_and_compose.experiments.parts import SEARCH_SEED
from moe_teach.train.experiment import Experiment, Grid
from moe_teach.train.horizons import Horizon

SEEDS, FEWER = (0, 1, 2, 3, 4), (0, 1, 2)


def _three(
    name: str,
    purpose: str,
    searched: Mapping[str, Horizon],
    chosen: Mapping[str, Horizon],
    run: Callable[[Horizon, int], dict[str, Any]],
) -> tuple[Experiment, ...]:
    """Make a search for rates on its own seed, the shortest length, and the longer ones."""
    rates = Experiment(f"{name}_rates", f"{purpose} Four rates.", searched, run, (SEARCH_SEED,))
    return (rates, *_two(name, purpose, chosen, run))


def _two(
    name: str,
    purpose: str,
    chosen: Mapping[str, Horizon],
    run: Callable[[Horizon, int], dict[str, Any]],
) -> tuple[Experiment, ...]:
    shortest = min(horizon.steps for horizon in chosen.values())
    short = {key: one for key, one in chosen.items() if one.steps == shortest}
    longer = {key: one for key, one in chosen.items() if one.steps > shortest}
    return (
        Experiment(name, purpose, short, run, SEEDS),
        Experiment(f"{name}_longer", f"{purpose} 3 and 10 times as long.", longer, run, FEWER),
    )


EXPERIMENTS = (
    *_three(
        "12_upcycle",
        "Is a dense model that becomes an MoE better than going on, or beginning anew?",
        upcycle.SEARCHED,
        upcycle.CHOSEN,
        upcycle.measure_upcycling,
    ),
    *_three(
        "12_compose",
        "What do branches gain that are put side by side, and one expert that is swapped?",
        compose.SEARCHED,
        compose.CHOSEN,
        compose.measure_compose,
    ),
    *_three(
        "12_targeted",
        "Which experts are worth training for a new skill, and what does it cost the old ones?",
        targeted.SEARCHED,
        targeted.CHOSEN,
        targeted.measure_targeted,
    ),
    *_two(
        "12_targeted_one_rate",
        "The same at one rate for all: does relevance, or how much is trained, spare the old?",
        targeted.AT_ONE_RATE,
        targeted.measure_targeted,
    ),
)


def with_longer(shortest: Grid, longer: Grid) -> Grid:
    """Join the cells of all lengths."""
    return Grid(shortest.cells + longer.cells)
