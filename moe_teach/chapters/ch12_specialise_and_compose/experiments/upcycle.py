"""Chapter 12: a trained dense model becomes an MoE, against going on dense and beginning anew.

The text is the facts of chapter 05. The unit of length is n steps: the dense model learns n, and
then each way has 0.6 n more. "From scratch" is the upcycled architecture with new weights and all
1.6 n steps, or with the 0.6 n alone, as who has the dense model already would count.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from moe_teach.chapters.ch12_specialise_and_compose.experiments.parts import (
    BATCH,
    LENGTH,
    RATES,
    dense,
)
from moe_teach.compose.upcycle import upcycle
from moe_teach.data.batches import Batches
from moe_teach.data.facts import FactCorpus, build_facts
from moe_teach.nn.model import Model
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.horizons import Horizon, chosen, search
from moe_teach.train.loop import train
from moe_teach.train.seeding import seeded_model

N_EXPERTS = 8
SEED_RATE = 0.008  # of the dense model that all but one way begin with
UPCYCLED: dict[str, dict[str, Any]] = {
    "upcycled, gates sum to 1": {"top_k": 2},
    "upcycled, with noise": {"top_k": 2, "noise": 0.1},
    "upcycled, raw top-1 gates": {"top_k": 1, "normalize_gates": False},
}
FROM_SCRATCH = {"MoE from scratch": True, "MoE from scratch, 0.6 n": False}
"""Whether it has the dense model's steps beside its own."""
WAYS = {name: name for name in ("stays dense", *UPCYCLED, *FROM_SCRATCH)}
LENGTHS = (100, 300, 1000)
SEARCHED = search(WAYS, LENGTHS, RATES) | search(
    {name: name for name in FROM_SCRATCH}, LENGTHS[2:], (0.001,)
)


@cache
def facts() -> FactCorpus:
    """Build the facts once, without those few that are longer than a row."""
    lines = tuple(line for line in build_facts(10, 100).lines if len(line.encode()) < LENGTH)
    return FactCorpus(lines, lines)


def study(model: Model, steps: int, lr: float, seed: int) -> None:
    """Train a whole model on the facts."""
    batches = Batches(facts().token_ids(), BATCH, LENGTH, seed)
    config = TrainConfig(
        steps=steps, batch_size=BATCH, seq_len=LENGTH, lr=lr, warmup=min(20, steps // 4), seed=seed
    )
    train(model, batches, config, progress=False)


def recall(model: Model) -> float:
    """Return nats a byte of the answers."""
    return round(evaluate(model, facts().evaluation_batches(64, LENGTH)).loss, 4)


def measure_upcycling(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Take one way: the loss of the dense model, right after the surgery, and at the end."""
    n, more = horizon.steps, 3 * horizon.steps // 5
    if horizon.setting in FROM_SCRATCH:
        model = seeded_model(upcycle(dense(seed), N_EXPERTS, 2).config, seed)
        study(model, n * FROM_SCRATCH[horizon.setting] + more, horizon.lr, seed)
        return {"loss": recall(model)}
    begun = deepcopy(_dense_after(n, seed))
    model = begun if horizon.setting == "stays dense" else _upcycled(begun, horizon.setting, seed)
    result = {"dense": recall(begun), "step 0": recall(model)}
    study(model, more, horizon.lr, seed + 1)
    return result | {"loss": recall(model)}


@cache
def _dense_after(n: int, seed: int) -> Model:
    model = dense(seed)
    study(model, n, SEED_RATE, seed)
    return model


def _upcycled(begun: Model, name: str, seed: int) -> Model:
    return upcycle(begun, N_EXPERTS, seed=seed, **UPCYCLED[name])


BEST: Mapping[int, Mapping[str, float]] = {
    100: dict.fromkeys(WAYS, 0.008),
    300: dict.fromkeys(WAYS, 0.008) | {"MoE from scratch": 0.004},
    1000: dict.fromkeys(WAYS, 0.008)
    | {"upcycled, gates sum to 1": 0.004, "MoE from scratch": 0.002}
    | {"MoE from scratch, 0.6 n": 0.004},
}
"""The best of `12_upcycle_rates`, at each length."""
CHOSEN = chosen(WAYS, BEST)
