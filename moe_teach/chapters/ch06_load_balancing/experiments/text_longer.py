"""Chapter 06: the language model for three times as long, each way at a rate of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moe_teach.chapters.ch06_load_balancing.experiments.text import TEXT, measure_text
from moe_teach.train.horizons import Horizon, chosen, search

RATES = (0.002, 0.004, 0.008, 0.016)
COMPARED = {
    name: TEXT[name]
    for name in (
        "no balancing",
        "Switch loss 0.01",
        "Switch loss 0.1",
        "expert bias 0.001",
        "expert choice",
        "hash",
    )
}
AT_2500 = {name: COMPARED[name] for name in ("no balancing", "Switch loss 0.01", "hash")}
"""The three ways that the longest run compares: none, the usual one, and the one that leads."""
# Longer schedules like smaller rates: the range moves down, or its best would be at its edge.
LOWER_RATES = (0.001, 0.002, 0.004, 0.008)
SEARCHED = search(COMPARED, (250, 750), RATES) | search(AT_2500, (2500,), LOWER_RATES)
BEST: Mapping[int, Mapping[str, float]] = {
    250: dict.fromkeys(COMPARED, 0.008) | {"no balancing": 0.004},
    750: dict.fromkeys(COMPARED, 0.004) | {"expert bias 0.001": 0.002, "hash": 0.008},
    2500: dict.fromkeys(AT_2500, 0.002),
}
"""Steps -> way of balancing -> the best of four rates of `06_text_rates`."""
HORIZONS = chosen(COMPARED, BEST)


def measure_text_for(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Train one model on a schedule of the horizon's length, and read its end."""
    setting = replace(horizon.setting, steps=horizon.steps, lr=horizon.lr)
    read = measure_text(setting, seed)
    return {key: value for key, value in read.items() if not isinstance(value, list)}
