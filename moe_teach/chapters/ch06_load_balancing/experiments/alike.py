"""Chapter 06: how alike the tokens of the language model look to its routers, while it learns.

And a control that takes away what the tokens share, in front of the routers only.
"""

from dataclasses import dataclass
from typing import Any

import torch

from moe_teach.chapters.ch06_load_balancing.experiments.text import (
    TextSetting,
    summary,
    text_data,
    text_model,
    train_text,
)
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.train.bias import routers_of
from moe_teach.train.record import StepRecord

STEPS = 150
WATCHED = (1, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 125, 150)


@dataclass(frozen=True, kw_only=True)
class AlikeSetting(TextSetting):
    """A run to look at. `centred`: the routers see each token less the mean of its batch."""

    centred: bool = False


def centre_routers(model: Model) -> None:
    """Let every router see its inputs less their mean over the batch; nothing else changes."""
    for router in routers_of(model):
        router.register_forward_pre_hook(
            lambda _, inputs: (inputs[0] - inputs[0].mean(dim=0), *inputs[1:])
        )


@torch.no_grad()
def likeness(model: Model, batch: Batch) -> float:
    """Return the median cosine of two tokens at the routers' inputs, the mean over the layers.

    1 means that all tokens point the same way and a linear router can hardly tell them apart.
    """
    seen: list[torch.Tensor] = []
    hooks = [  # the first to look: before anything is taken off
        router.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]), prepend=True)
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


def measure_likeness(setting: AlikeSetting, seed: int) -> dict[str, Any]:
    """Run one cell: likeness and dead experts of the step's own batch, at `WATCHED` steps."""
    held_back = text_data(seed)[1][0]
    result: dict[str, list[Any]] = {"steps": [], "likeness": [], "dead": []}

    def watch(model: Model, record: StepRecord) -> None:
        if record.step + 1 in WATCHED:
            result["steps"].append(record.step + 1)
            result["likeness"].append(round(likeness(model, held_back), 3))
            result["dead"].append(summary(torch.tensor(record.loads))["dead"])

    model = text_model(setting, seed)
    if setting.centred:
        centre_routers(model)
    train_text(setting, seed, watch=watch, model=model)
    return result


LIKENESS = {
    "no balancing": AlikeSetting(steps=STEPS),
    "Switch loss 0.01": AlikeSetting(steps=STEPS, load_balance_coef=0.01),
    "none, routers centred": AlikeSetting(steps=STEPS, centred=True),
}
