"""Chapter 06: how alike the tokens of the language model look to its routers, while it learns."""

from dataclasses import replace
from typing import Any

import torch

from moe_teach.chapters.ch06_load_balancing.experiments.text import (
    TEXT,
    TextSetting,
    summary,
    text_data,
    train_text,
)
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.train.bias import routers_of
from moe_teach.train.record import StepRecord

STEPS = 150
WATCHED = (1, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 125, 150)


@torch.no_grad()
def likeness(model: Model, batch: Batch) -> float:
    """Return the median cosine of two tokens at the routers' inputs, the mean over the layers.

    1 means that all tokens point the same way and a linear router can hardly tell them apart.
    """
    seen: list[torch.Tensor] = []
    hooks = [
        router.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for router in routers_of(model)
    ]
    try:
        model(batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = torch.randperm(len(seen[0]), generator=torch.Generator().manual_seed(0))
    cosines = [torch.cosine_similarity(x, x[pairs], dim=-1).quantile(0.5).item() for x in seen]
    return sum(cosines) / len(cosines)


def measure_likeness(setting: TextSetting, seed: int) -> dict[str, Any]:
    """Run one cell: likeness and dead experts of the step's own batch, at `WATCHED` steps."""
    held_back = text_data(seed)[1][0]
    result: dict[str, list[Any]] = {"steps": [], "likeness": [], "dead": []}

    def watch(model: Model, record: StepRecord) -> None:
        if record.step + 1 in WATCHED:
            result["steps"].append(record.step + 1)
            result["likeness"].append(round(likeness(model, held_back), 3))
            result["dead"].append(summary(torch.tensor(record.loads))["dead"])

    train_text(setting, seed, watch=watch)
    return result


LIKENESS = {name: replace(TEXT[name], steps=STEPS) for name in ("no balancing", "Switch loss 0.01")}
