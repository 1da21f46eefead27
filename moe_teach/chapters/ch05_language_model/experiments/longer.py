"""Chapter 05: the facts at 3 and 10 times the length, every model at a learning rate of its own."""

from dataclasses import replace
from typing import Any

from moe_teach.chapters.ch05_language_model.experiments.ladder import (
    FACTS,
    LR,
    Setting,
    curve_of,
    run_setting,
)
from moe_teach.train.horizons import Horizon, chosen, search

COMPARED = {
    **{
        name: FACTS[name]
        for name in ("dense, equal active", "16 experts", "dense, equal total", "16 experts, hash")
    },
    # Who chooses, or how loud the experts speak? The table's choice at the learned router's gate.
    "16 experts, hash, gate p": Setting(task="facts", n_experts=16, router="weighed hash"),
}
RATES = (LR / 4, LR / 2, LR, 2 * LR, 4 * LR)
N_POINTS = 16


def measure_for(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Train one model on a schedule of the horizon's length; the validation curve and its end."""
    setting = replace(horizon.setting, steps=horizon.steps)
    _, history = run_setting(setting, seed, every=horizon.steps // N_POINTS, lr=horizon.lr)
    return curve_of(history)


SEARCHED = search(COMPARED, (800,), RATES)
_MAIN = {"dense, equal active": LR, "16 experts": LR, "dense, equal total": LR / 2}
_HASHED = {"16 experts, hash": LR, "16 experts, hash, gate p": LR}
BEST = {800: _MAIN | _HASHED, 2400: _MAIN, 8000: _MAIN}
"""Steps -> model -> rate: the best of `05_rates`, which was searched at 800 steps only."""
HORIZONS = chosen(COMPARED, BEST)
