"""Chapter 06, the measured case: one small language model under every way of balancing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.data.batches import Batch, Batches, evaluation_batches
from moe_teach.data.domain_bytes import domain_bytes
from moe_teach.nn.hash_router import use_hash_routers
from moe_teach.nn.model import Model
from moe_teach.ops.balance import load_entropy, max_violation
from moe_teach.train.bias import routers_of
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.loop import train
from moe_teach.train.record import History, StepRecord
from moe_teach.train.seeding import seeded_model
from moe_teach.train.small_model import small_config

Watch = Callable[[Model, StepRecord], object]

N_EXPERTS, BATCH, LENGTH = 16, 8, 64
WINDOW = 10  # steps over which a load is averaged before an expert is called dead
DEAD = 0.1  # of the fair share


@dataclass(frozen=True, kw_only=True)
class TextSetting:
    """One way to balance the routers of the small language model."""

    load_balance_coef: float = 0.0
    z_loss_coef: float = 0.0
    bias_update_rate: float = 0.0
    router: Literal["learned", "expert choice", "hash"] = "learned"
    steps: int = 250
    lr: float = 4e-3


def text_model(setting: TextSetting, seed: int) -> Model:
    """Build two layers of width 64 with 16 experts each, one of them for each byte."""
    choice = "expert" if setting.router == "expert choice" else "token"
    # One expert per token: its gate must stay a probability, or the router learns nothing.
    router = RouterConfig(n_experts=N_EXPERTS, top_k=1, normalize_gates=False, choice=choice)
    moe = MoEConfig(router=router, d_ff=64, activation="gelu")
    model = seeded_model(small_config(moe=moe), seed)
    return use_hash_routers(model, seed) if setting.router == "hash" else model


def text_data(seed: int) -> tuple[Batches, list[Batch]]:
    """Return training batches of four domains, and 64 validation windows of each."""
    taught, held_back = domain_bytes()
    return Batches(taught, BATCH, LENGTH, seed), evaluation_batches(held_back, 64, LENGTH, 64)


def train_text(
    setting: TextSetting,
    seed: int,
    watch: Watch | None = None,
    progress: bool = False,
    model: Model | None = None,
) -> tuple[Model, History]:
    """Train one model; the first weights and the batches depend on the seed alone.

    `watch(model, record)` is called after every step. `model` is an untrained one of this setting,
    for those who have to reach into it before.
    """
    batches, _ = text_data(seed)
    model = model or text_model(setting, seed)
    config = TrainConfig(
        steps=setting.steps,
        batch_size=BATCH,
        seq_len=LENGTH,
        lr=setting.lr,
        seed=seed,
        load_balance_coef=setting.load_balance_coef,
        z_loss_coef=setting.z_loss_coef,
        bias_update_rate=setting.bias_update_rate,
    )
    on_step = None if watch is None else partial(watch, model)
    return model, train(model, batches, config, progress=progress, on_step=on_step)


def recent_load(records: Sequence[StepRecord], step: int) -> Tensor:
    """Return the load of every layer, averaged over the steps that end with `step`: (L, E)."""
    window = records[max(0, step + 1 - WINDOW) : step + 1]
    return torch.tensor([record.loads for record in window]).mean(dim=0)


def summary(load: Tensor) -> dict[str, Any]:
    """Count dead experts of all layers (L, E); entropy and violation are means over layers."""
    shares = [(10**6 * layer).round().long() for layer in load]  # the library counts choices
    return {
        "dead": int((load < DEAD / load.shape[-1]).sum()),
        "entropy": round(sum(float(load_entropy(s)) for s in shares) / len(load), 4),
        "max_violation": round(sum(float(max_violation(s)) for s in shares) / len(load), 3),
    }


@contextmanager
def choosing_by_token(model: Model) -> Iterator[None]:
    """Let tokens choose inside the block, also where the model was trained with expert choice.

    One token after the other is what a language model meets when it writes.
    """
    learned = [router for router in routers_of(model) if hasattr(router, "config")]
    before = [router.config for router in learned]
    for router in learned:
        router.config = replace(router.config, choice="token")
    yield
    for router, config in zip(learned, before, strict=True):
        router.config = config


@torch.no_grad()
def share_of_leaks(model: Model, batch: Batch) -> float:
    """Change the last byte of every row: at which share of the earlier places do logits move?

    A thousandth is far above rounding. In a causal model the answer is 0.
    """
    model.eval()
    inputs = batch.inputs.clone()
    before = model(inputs).logits[:, :-1]
    inputs[:, -1] = (inputs[:, -1] + 1) % 256
    moved = (model(inputs).logits[:, :-1] - before).abs().amax(dim=-1) > 1e-3
    return moved.float().mean().item()


def measure_text(setting: TextSetting, seed: int) -> dict[str, Any]:
    """Run one cell of the grid: balance over training, and the loss on held-back text."""
    model, history = train_text(setting, seed)
    _, validation = text_data(seed)
    leaks = share_of_leaks(model, validation[0])
    result: dict[str, Any] = {"leaks": round(leaks, 4)}
    if setting.router == "expert choice":
        result["loss_with_the_future"] = round(evaluate(model, validation).loss, 4)
    with choosing_by_token(model):
        seen = evaluate(model, validation)
    steps = [9, *range(24, setting.steps, 25)]
    curves = [summary(recent_load(history.records, step)) for step in steps]
    return {
        **result,
        "loss": round(seen.loss, 4),
        "validation": summary(torch.tensor(seen.loads)),
        "steps": [step + 1 for step in steps],
        **{key: [point[key] for point in curves] for key in curves[0]},
    }


TEXT = {
    "no balancing": TextSetting(),
    "Switch loss 0.01": TextSetting(load_balance_coef=0.01),
    "Switch loss 0.1": TextSetting(load_balance_coef=0.1),
    "z-loss 0.001": TextSetting(z_loss_coef=0.001),
    "Switch loss and z-loss": TextSetting(load_balance_coef=0.01, z_loss_coef=0.001),
    "expert bias 0.001": TextSetting(bias_update_rate=0.001),
    "expert choice": TextSetting(router="expert choice"),
    "hash": TextSetting(router="hash"),
}
