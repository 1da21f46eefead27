"""Chapter 06: the toy for ten times as long, at four learning rates, and a control per cause."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.experiments.kinds import (
    BATCH,
    D_FF,
    N_TEST,
    N_TRAIN,
    Samples,
)
from moe_teach.chapters.ch06_load_balancing.experiments.stack import (
    KEEP,
    N_EXPERTS,
    Stack,
    Trial,
    begin,
    choose,
    step_loss,
)
from moe_teach.ops.balance import max_violation
from moe_teach.train.horizons import Horizon

LENGTHS = (500, 1500, 5000)
RATES = (0.00125, 0.0025, 0.005, 0.01, 0.02)
SEEDS = (0, 1, 2, 3, 4)
SEARCH_SEEDS = (100, 101)
RECENT = 50  # steps whose load tells the balance in training

CAUSES = {
    "as it is": Trial(),
    "nothing in common": Trial(shared=0.0),
    "router sees it centred": Trial(centred="router"),
    "experts see it centred": Trial(centred="experts"),
    "all experts learn": Trial(learners="all"),
    "no expert learns": Trial(learners="none"),
    "all learn, router centred": Trial(learners="all", centred="router"),
    "told how good each expert is": Trial(told=True),
    "slow router": Trial(router_speed=0.1),
}
CURES = {
    "Switch loss 0.1": Trial(load_balance_coef=0.1),
    "Switch loss 0.01": Trial(load_balance_coef=0.01),
    "expert bias 0.01": Trial(bias_update_rate=0.01),
    "expert bias 0.001": Trial(bias_update_rate=0.001),
    "z-loss 0.01": Trial(z_loss_coef=0.01),
    "noise 1": Trial(noise=1.0),
    "expert choice": Trial(router="expert choice"),
    "dealt like cards": Trial(router="by sample"),
    "told the kind": Trial(router="by kind"),
}
NARROW = {
    "bfloat16": Trial(narrow=True),
    "bfloat16, Switch loss 0.1": Trial(narrow=True, load_balance_coef=0.1),
    "bfloat16, Switch loss 0.1, z-loss 0.001": Trial(
        narrow=True, load_balance_coef=0.1, z_loss_coef=0.001
    ),
}


def measure_longer(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Read one run of a stack at `LENGTHS`: quality, balance, and the size of the logits."""
    seeds = SEEDS + SEARCH_SEEDS if seed in SEEDS + SEARCH_SEEDS else (seed,)
    marks = (*(step for step in LENGTHS if step < horizon.steps), horizon.steps)
    return train_stack(horizon.setting, horizon.lr, seeds, marks)[seeds.index(seed)]


@lru_cache(maxsize=1)
def train_stack(
    trial: Trial, lr: float, seeds: tuple[int, ...], marks: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Train every seed and read all of them after each number of steps in `marks`."""
    stack, samples = begin(trial, seeds)
    optimiser = _optimiser(stack, lr)
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    noise = torch.Generator().manual_seed(0)
    recent: list[Tensor] = []
    read: list[dict[str, list[float | int]]] = []
    for step in range(1, max(marks) + 1):
        rows = torch.stack([torch.randint(N_TRAIN, (BATCH,), generator=draw) for draw in draws])
        loss, taken, probs = step_loss(stack, _batch(samples, rows), noise)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
        recent = [*recent[1 - RECENT :], taken.sum(dim=1)]
        _keep_books(stack, taken, probs, first=step == 1)
        if step in marks:
            read.append(_reading(stack, _held_back(samples), torch.stack(recent).sum(dim=0)))
    return [
        {"steps": list(marks)} | {key: [one[key][i] for one in read] for key in read[0]}
        for i in range(len(seeds))
    ]


def _optimiser(stack: Stack, lr: float) -> torch.optim.Adam:
    for part in stack.parameters:
        part.requires_grad_()
    router, *experts = stack.parameters
    slow = {"params": [router], "lr": lr * stack.trial.router_speed}
    return torch.optim.Adam([slow, {"params": experts}], lr=lr, fused=True)


def _batch(samples: Samples, rows: Tensor) -> Samples:
    """Take rows (R, B) of every seed's samples."""
    x = samples.x.gather(1, rows[..., None].expand(-1, -1, samples.x.shape[-1]))
    return Samples(x, samples.label.gather(1, rows), samples.kind.gather(1, rows), rows)


def _held_back(samples: Samples) -> Samples:
    rows = torch.arange(N_TRAIN, N_TRAIN + N_TEST)
    return _batch(samples, rows.expand(len(samples.x), -1))


def _keep_books(stack: Stack, taken: Tensor, probs: Tensor, *, first: bool) -> None:
    counts = taken.sum(dim=1, keepdim=True)
    behind = counts.sum(dim=-1, keepdim=True) - N_EXPERTS * counts
    stack.bias += stack.trial.bias_update_rate * behind.sign()
    if stack.trial.router == "expert choice":
        lowest = probs.masked_fill(taken == 0, 1.0).amin(dim=1, keepdim=True)
        stack.threshold = lowest if first else KEEP * stack.threshold + (1 - KEEP) * lowest


@torch.no_grad()
def _reading(stack: Stack, samples: Samples, recent: Tensor) -> dict[str, list[float | int]]:
    """Judge on test tokens that choose for themselves, as they must in use."""
    logits = stack.logits(samples.x)
    probs = logits.softmax(dim=-1)
    fixed = stack.trial.router in ("by sample", "by kind")
    taken = choose(stack, samples, probs, by=stack.trial.router if fixed else "learned")
    counts = taken.sum(dim=1)
    exact = stack.logits(samples.x, narrow=False)
    readings = {
        "accuracy": _accuracy(stack, samples, taken if fixed else taken * probs),
        "alive": (counts >= 0.1 * N_TEST / N_EXPERTS).sum(dim=-1),
        "max_violation": torch.stack([max_violation(one) for one in counts.long()]),
        "max_violation_in_training": torch.stack([max_violation(one) for one in recent.long()]),
        "logit_size": logits.abs().amax(dim=-1).mean(dim=-1),
        "log_sum": logits.logsumexp(dim=-1).mean(dim=-1),
        "flips": (logits.argmax(dim=-1) != exact.argmax(dim=-1)).float().mean(dim=-1),
    }
    if stack.trial.router == "expert choice":
        kept = (probs >= stack.threshold).float()
        together = choose(stack, samples, probs, by="expert choice")
        readings["accuracy_with_thresholds"] = _accuracy(stack, samples, kept * probs)
        readings["accuracy_experts_choose"] = _accuracy(stack, samples, together * probs)
        readings["experts_per_token"] = kept.sum(dim=-1).mean(dim=-1)
    return {key: [round(one, 4) for one in values.tolist()] for key, values in readings.items()}


def _accuracy(stack: Stack, samples: Samples, gates: Tensor) -> Tensor:
    logits = (stack.hidden(samples.x) * gates.repeat_interleave(D_FF, dim=-1)) @ stack.w_down
    return (logits.argmax(dim=-1) == samples.label).float().mean(dim=-1)
