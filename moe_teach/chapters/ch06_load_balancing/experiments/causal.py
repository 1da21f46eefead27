"""Chapter 06: expert choice without the future, by thresholds kept from its training.

Expert choice is judged in another way than it was trained if tokens choose in the test, and with a
leak if experts do. A threshold for each expert takes away the leak and nothing else: an expert
still takes whom it scores high enough, and asks nobody else in the batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.chapters.ch06_load_balancing.experiments.text import (
    TEXT,
    TextSetting,
    choosing_by_token,
    share_of_leaks,
    text_data,
    text_model,
    train_text,
)
from moe_teach.nn.model import Model
from moe_teach.nn.router import Router
from moe_teach.train.bias import routers_of
from moe_teach.train.evaluate import evaluate
from moe_teach.types import Routing

KEEP = 0.95  # of a threshold, from one step to the next


class Thresholds:
    """For every router of a model, the lowest probability with which an expert takes a token.

    They are moving averages (E,) over the training steps that are made inside `watching`.
    """

    def __init__(self) -> None:
        self.of: dict[int, Tensor] = {}

    @contextmanager
    def watching(self, model: Model) -> Iterator[None]:
        """Keep the thresholds of each training step inside the block."""
        with _hooked(model, self._remember):
            yield

    @contextmanager
    def choosing(self, model: Model) -> Iterator[None]:
        """Let experts choose by threshold inside the block, each token by itself."""
        with _hooked(model, self._choose):
            yield

    def _remember(self, place: int, routing: Routing) -> None:
        if not torch.is_grad_enabled():  # a test is no training step
            return
        lowest = routing.probs.detach().masked_fill(~routing.chosen, 1.0).amin(dim=0)
        self.of[place] = KEEP * self.of.get(place, lowest) + (1 - KEEP) * lowest

    def _choose(self, place: int, routing: Routing) -> Routing:
        kept = routing.probs >= self.of[place]
        return replace(routing, gates=routing.probs * kept, kept=kept, claimed=kept)


@contextmanager
def _hooked(model: Model, act: Any) -> Iterator[None]:
    def hook_at(place: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, routing: Routing) -> Routing | None:
            return act(place, routing)

        return hook

    routers: list[Router] = routers_of(model)
    hooks = [router.register_forward_hook(hook_at(i)) for i, router in enumerate(routers)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def measure_causal(setting: TextSetting, seed: int) -> dict[str, Any]:
    """Train with experts choosing, and test the same weights in three ways."""
    thresholds, model = Thresholds(), text_model(setting, seed)
    with thresholds.watching(model):
        train_text(setting, seed, model=model)
    _, validation = text_data(seed)
    result: dict[str, Any] = {"experts": evaluate(model, validation).loss}
    with choosing_by_token(model):
        result["tokens"] = evaluate(model, validation).loss
    with thresholds.choosing(model):
        result["thresholds"] = evaluate(model, validation).loss
        result["leaks"] = share_of_leaks(model, validation[0])
    return {key: round(value, 4) for key, value in result.items()}


CAUSAL = {f"{steps} steps": replace(TEXT["expert choice"], steps=steps) for steps in (250, 750)}
