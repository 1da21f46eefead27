"""Chapter 05: dense against sparse on facts, sums and text, with everything else held equal.

One small transformer, three texts. What differs between the settings is its feed-forward: dense
(of three widths, or trained for longer) or experts (of several numbers, with three routers).
"""

from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from moe_teach.config import ModelConfig, MoEConfig, RouterConfig
from moe_teach.cost.compute import training_flops
from moe_teach.cost.params import n_params_active, n_params_total
from moe_teach.data.batches import Batch, Batches, evaluation_batches
from moe_teach.data.domain_bytes import domain_bytes
from moe_teach.data.facts import build_facts, build_sums
from moe_teach.nn.hash_router import HashRouter, use_hash_routers
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router
from moe_teach.train.config import TrainConfig
from moe_teach.train.loop import Trainer, train
from moe_teach.train.record import History
from moe_teach.train.seeding import seeded_model
from moe_teach.train.small_model import small_config
from moe_teach.types import Routing

Task = Literal["facts", "sums", "text"]
RouterKind = Literal["learned", "hash", "random", "weighed hash"]

EXPERT_WIDTH = 64
# A router is paid for too: 32 of its rows are as many numbers as 16 hidden units (of two matrices).
# So no mixture here, of up to 32 experts, has more parameters at work than this dense model.
ACTIVE_WIDTH = EXPERT_WIDTH + 32 // 2
TOTAL_WIDTH = 16 * EXPERT_WIDTH + 16 // 2  # all that a layer of 16 experts stores
BATCH, LENGTH, LR = 16, 64, 4e-3
LONGER = 1200  # steps of the dense model that get as many seconds as 800 steps of 16 experts
WINDOWS = 64  # of validation text, from each domain


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run: the text, and either a dense net of width `d_ff` or as wide experts."""

    task: Task
    n_experts: int = 0
    d_ff: int = EXPERT_WIDTH
    router: RouterKind = "learned"
    steps: int = 800


class RandomRouter(nn.Module):
    """Send every token to an expert drawn afresh: the control in which nobody can specialise."""

    def __init__(self, n_experts: int, seed: int) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.draw = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> Routing:
        """Choose one expert for each row of x (T, D), with gate 1; no logit prefers anyone."""
        expert_ids = torch.randint(self.n_experts, (len(x), 1), generator=self.draw)
        nothing = torch.zeros(len(x), self.n_experts)
        return Routing(nothing, nothing.softmax(dim=-1), torch.ones(len(x), 1), expert_ids)


class WeighedHash(nn.Module):
    """Choose by a fixed table, as a `HashRouter` does, and weigh by a learned probability.

    The difference to a learned top-1 router is who chooses, and nothing else.
    """

    def __init__(self, learned: Router, table: HashRouter) -> None:
        super().__init__()
        self.learned, self.table = learned, table

    def forward(self, x: Tensor, token_ids: Tensor | None = None) -> Routing:
        """Look up the expert of each row of x (T, D); its gate is the learned router's."""
        own, expert_ids = self.learned(x), self.table(x, token_ids).expert_ids
        return Routing(own.logits, own.probs, own.probs.gather(1, expert_ids), expert_ids)


def model_config(setting: Setting) -> ModelConfig:
    """Describe the transformer of a setting: two layers of width 64, bytes in and out."""
    moe = None
    if setting.n_experts:
        # One expert per token: its gate must stay a probability, or the router learns nothing.
        router = RouterConfig(n_experts=setting.n_experts, top_k=1, normalize_gates=False)
        moe = MoEConfig(router=router, d_ff=setting.d_ff, activation="gelu")
    return small_config(moe=moe, d_ff_dense=setting.d_ff)


def build_model(setting: Setting, seed: int) -> Model:
    """Build the untrained model of a setting; the weights depend on the seed alone."""
    model = seeded_model(model_config(setting), seed)
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    learned = [layer.router for layer in layers]
    if setting.router in ("hash", "weighed hash"):
        use_hash_routers(model, seed)
    for depth, layer in enumerate(layers):
        if setting.router == "random":
            layer.router = RandomRouter(setting.n_experts, seed=1000 * seed + depth)
        if setting.router == "weighed hash":
            layer.router = WeighedHash(learned[depth], layer.router)
    return model


def build_data(task: Task, seed: int) -> tuple[Batches, list[Batch]]:
    """Return training batches, and the questions or windows that every run is judged by."""
    if task == "text":
        taught, held_back = domain_bytes()
        batches = Batches(taught, BATCH, LENGTH, seed)
        return batches, evaluation_batches(held_back, 64, LENGTH, WINDOWS)
    lines = build_facts() if task == "facts" else build_sums()
    return Batches(lines.token_ids(), BATCH, LENGTH, seed), lines.evaluation_batches(64, LENGTH)


def run_setting(
    setting: Setting, seed: int, every: int = 50, progress: bool = False, lr: float = LR
) -> tuple[Model, History]:
    """Train one model; its validation loss is measured every so many steps."""
    batches, validation = build_data(setting.task, seed)
    model = build_model(setting, seed)
    config = TrainConfig(steps=setting.steps, batch_size=BATCH, seq_len=LENGTH, lr=lr, seed=seed)
    history = train(
        model, batches, config, evaluate_every=every, validation=validation, progress=progress
    )
    return model, history


def facts_of(setting: Setting) -> dict[str, int]:
    """Count what a setting costs: parameters in all, at work on a token, FLOPs of a step."""
    config = model_config(setting)
    n_router = 0
    if setting.router in ("hash", "random"):  # a table or a die has no parameters
        n_router = config.n_layers * config.d_model * setting.n_experts
    flops = training_flops(config, context=LENGTH // 2) - 6 * n_router
    return {
        "n_total": n_params_total(config) - n_router,
        "n_active": n_params_active(config) - n_router,
        "flops_per_step": flops * BATCH * LENGTH,
    }


def measure(setting: Setting, seed: int) -> dict[str, Any]:
    """Run one cell of a grid: the validation curve, and what a step computes."""
    _, history = run_setting(setting, seed)
    return {**facts_of(setting), **curve_of(history)}


def curve_of(history: History) -> dict[str, Any]:
    """Write the validation curve and its end, and how uneven the last step's experts were."""
    steps, losses = zip(*history.validation, strict=True)
    last = history.records[-1]
    return {
        "steps": [step + 1 for step in steps],
        "losses": [round(loss, 4) for loss in losses],
        "loss": round(losses[-1], 4),
        "max_violation": [round(value, 3) for value in last.max_violation],
    }


def measure_gently(name: str, seed: int) -> dict[str, Any]:
    """Run a model of `FACTS` at half the learning rate: was the recipe the reason?"""
    _, history = run_setting(FACTS[name], seed, every=0, lr=LR / 2)
    return {"lr": LR / 2, "loss": round(history.validation[-1][1], 4)}


def measure_prices(names: tuple[str, ...], seed: int, steps: int = 80) -> dict[str, Any]:
    """Give the median milliseconds of a step for each name of `FACTS`, as `time_steps` does."""
    times = time_steps(names, seed, steps)
    return {name: round(median(milliseconds), 2) for name, milliseconds in times.items()}


def time_steps(names: tuple[str, ...], seed: int, steps: int = 80) -> dict[str, list[float]]:
    """Time the steps of several models that take turns, so that a busy moment hits all alike.

    Returns milliseconds of processor time on one thread for each name of `FACTS`, without the
    first ten steps: on a crowded machine, two threads and a wall clock once put them upside down.
    """
    trainers = {}
    batches, _ = build_data("facts", seed)
    config = TrainConfig(steps=steps, batch_size=BATCH, seq_len=LENGTH, warmup=0, seed=seed)
    for name in names:
        trainers[name] = Trainer(build_model(FACTS[name], seed), config)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for step in range(steps):
            for trainer in trainers.values():
                trainer.advance(batches.at(step))
    finally:
        torch.set_num_threads(n_threads)
    return {
        name: [1000 * record.cpu_seconds for record in trainer.records[10:]]
        for name, trainer in trainers.items()
    }


def ladder(task: Task) -> dict[str, Setting]:
    """Dense and sparse on one text: the comparison that all three texts share."""
    return {
        "dense, equal active": Setting(task=task, d_ff=ACTIVE_WIDTH),
        "16 experts": Setting(task=task, n_experts=16),
        "dense, equal total": Setting(task=task, d_ff=TOTAL_WIDTH),
        "16 experts, hash": Setting(task=task, n_experts=16, router="hash"),
    }


def only(settings: dict[str, Setting], *names: str) -> dict[str, Setting]:
    """Take some of the settings, in the order of their names."""
    return {name: settings[name] for name in names}


FACTS = {
    **ladder("facts"),
    # A step with 16 experts takes longer than a dense one; more steps make up for it.
    "dense, equal seconds": Setting(task="facts", d_ff=ACTIVE_WIDTH, steps=LONGER),
    "1 expert": Setting(task="facts"),  # one expert and no choice: a dense net
    **{f"{n} experts": Setting(task="facts", n_experts=n) for n in (2, 4, 8, 32)},
    "16 experts, random": Setting(task="facts", n_experts=16, router="random"),
}
MAIN = ("dense, equal active", "16 experts")
