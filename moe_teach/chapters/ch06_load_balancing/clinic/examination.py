"""The examination: the same eight observations for every patient, cheap and seeded."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from moe_teach.chapters.ch06_load_balancing.clinic import probes
from moe_teach.chapters.ch06_load_balancing.clinic.chart import Chart
from moe_teach.chapters.ch06_load_balancing.clinic.set_up import BALANCE_COEF, N_EXPERTS, SetUp
from moe_teach.nn.moe import MoE
from moe_teach.ops.balance import load
from moe_teach.types import Routing

N_STEPS = 50
LEARNING_RATE = 0.02
_PROBED = 64  # tokens of the observations without training
_BIAS_SHIFT = 0.25


@cache
def examine(patient: type[SetUp], seed: int = 0, n_steps: int = N_STEPS) -> Chart:
    """Put a set-up through all observations; the chart depends on nothing but the arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Chart(
            loads=tuple(_load(routing) for _, routing in training(patient, seed, n_steps)),
            **_reported(patient()),
            **_gradients(patient, seed),
            **_gates(patient, seed),
            bias_step=_bias_step(patient(), seed),
            **_twice(patient, seed),
            company=_company(patient, seed),
            **_sizes(patient, seed),
        )


def training(patient: type[SetUp], seed: int, n_steps: int) -> Iterator[tuple[float, Routing]]:
    """Train for a short while; give the task's loss and the routing of every step."""
    set_up = patient()
    layer = set_up.layer(seed)
    x, target = probes.task(seed, n_tokens=128)
    optimiser = torch.optim.Adam(layer.parameters(), lr=LEARNING_RATE)
    for _ in range(n_steps):
        y, routing = layer(x)
        task_loss = (x + y - target).square().mean()
        optimiser.zero_grad()
        set_up.total_loss(task_loss, routing).backward()
        optimiser.step()
        set_up.move_bias(layer.router, routing)
        yield task_loss.item(), routing


def task_losses(patient: type[SetUp], seed: int = 0, n_steps: int = N_STEPS) -> list[float]:
    """Give the task's loss at every step of the examination's training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [loss for loss, _ in training(patient, seed, n_steps)]


def _load(routing: Routing) -> tuple[float, ...]:
    if routing.kept is None or routing.top_k < N_EXPERTS:
        return _rounded(load(routing).tolist())
    counts = routing.kept.sum(dim=0)  # expert choice lists everybody and keeps some
    return _rounded((counts / counts.sum()).tolist())


def _reported(set_up: SetUp) -> dict[str, Any]:
    """Ask for the balance loss of routings that were made by hand."""
    return {
        "even": tuple(float(set_up.balance_loss(probes.even(k))) for k in probes.KS),
        "crowd": float(set_up.balance_loss(probes.crowd())),
        "second": float(set_up.balance_loss(probes.crowded_second())),
    }


def _gradients(patient: type[SetUp], seed: int) -> dict[str, tuple[float, ...]]:
    """Measure three gradients on the router's matrix, for each k.

    Of the task loss; of the balance loss as logged; and of all that the total loss holds beyond
    the task loss, divided by the prescribed coefficient. The last two should be equal.
    """
    found: dict[str, list[float]] = {"task_gradient": [], "own_gradient": [], "arriving": []}
    x, target = probes.task(seed, _PROBED)
    for k in probes.KS:
        set_up = patient(k)
        layer = set_up.layer(seed)
        y, routing = layer(x)
        weight = layer.router.proj.weight
        task_loss = (x + y - target).square().mean()
        balance = set_up.balance_loss(routing)
        rest = (set_up.total_loss(task_loss.detach(), routing) - task_loss.detach()) / BALANCE_COEF
        losses = (task_loss, balance, rest)
        for name, loss in zip(found, losses, strict=True):
            found[name].append(_gradient_norm(loss, weight))
    return {name: tuple(norms) for name, norms in found.items()}


def _gradient_norm(loss: Tensor, weight: Tensor) -> float:
    if not loss.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True, allow_unused=True)
    return 0.0 if gradient is None else gradient.norm().item()


def _gates(patient: type[SetUp], seed: int) -> dict[str, tuple[float, ...]]:
    """Sum the gates of a token, and see whether they care for a bias that changes no rank."""
    x = probes.tokens(seed, _PROBED)
    sums, moves = [], []
    for k in probes.KS:
        layer = _resting(patient(k), seed)
        before = _routed(layer, x, seed)
        layer.router.expert_bias += _BIAS_SHIFT
        after = _routed(layer, x, seed)
        sums.append(before.gates.sum(dim=-1).mean().item())
        same = (before.expert_ids == after.expert_ids).all(dim=-1)
        moves.append(_largest((after.gates - before.gates)[same]))
    return {"gate_sums": tuple(sums), "gate_moves": tuple(moves)}


def _routed(layer: MoE, x: Tensor, seed: int) -> Routing:
    torch.manual_seed(seed)  # where a router draws noise, both calls draw the same
    with torch.no_grad():
        return layer.router(x)


def _bias_step(set_up: SetUp, seed: int) -> tuple[float, ...]:
    """Show one crowded batch to the trainer and see what it does to each expert's bias."""
    router = set_up.layer(seed).router
    set_up.move_bias(router, probes.crowd())
    return tuple(router.expert_bias.tolist())


def _twice(patient: type[SetUp], seed: int) -> dict[str, float]:
    """Evaluate the same tokens twice: who answers, and what."""
    layer, x = _resting(patient(), seed), probes.tokens(seed, _PROBED)
    with torch.no_grad():
        (y, routing), (again, routing_again) = layer(x), layer(x)
    other = routing.expert_ids.sort(-1).values != routing_again.expert_ids.sort(-1).values
    return {
        "other_experts": other.any(dim=-1).float().mean().item(),
        "other_output": ((y - again).norm() / y.norm()).item(),
    }


def _company(patient: type[SetUp], seed: int) -> tuple[float, ...]:
    """Compare tokens' outputs in a batch with their outputs alone, for every second place."""
    layer, x = _resting(patient(), seed), probes.tokens(seed, _PROBED)
    with torch.no_grad():
        together = layer(x)[0][::2]
        alone = torch.cat([layer(token[None])[0] for token in x[::2]])
    # Relative to the output alone: a token whose choices were all dropped has none together.
    return _rounded(((together - alone).norm(dim=-1) / alone.norm(dim=-1)).tolist())


def _sizes(patient: type[SetUp], seed: int) -> dict[str, float]:
    """Compare output and input, with the routed experts as they are and with all of them silent."""
    layer, x = _resting(patient(), seed), probes.tokens(seed, _PROBED)
    with torch.no_grad():
        speaking = layer(x)[0].norm() / x.norm()
        layer.experts.w_down.zero_()
        silent = layer(x)[0]
    likeness = torch.nn.functional.cosine_similarity(silent, x, dim=-1).mean().item()
    size = (silent.norm() / x.norm()).item()
    return {"speaking": speaking.item(), "silent": size, "likeness": likeness}


def _resting(set_up: SetUp, seed: int) -> MoE:
    return set_up.layer(seed).eval()


def _rounded(values: list[float]) -> tuple[float, ...]:
    return tuple(round(value, 5) for value in values)


def _largest(values: Tensor) -> float:
    return values.abs().max().item() if values.numel() else 0.0
