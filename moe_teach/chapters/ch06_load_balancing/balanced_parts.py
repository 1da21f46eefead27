"""Exercise 6.7: a small layer, right parts for a balanced training, and the usual slips of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from moe_teach.chapters.ch06_load_balancing.inputs import balance
from moe_teach.chapters.ch06_load_balancing.kinds_model import KindsModel
from moe_teach.judging.stand_ins import SmallLayer
from moe_teach.ops.balance import tokens_per_expert, update_expert_bias
from moe_teach.ops.losses import load_balance_loss
from moe_teach.seeding import seeded
from moe_teach.types import Routing

OF_EXERCISE = {"loop": "5.6", "balance": "6.1", "move": "6.3"}


def loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Any,
    n_steps: int,
    lr_at: Callable[[int], float],
    balance_loss: Callable[[Routing], Tensor] = load_balance_loss,
    balance_coef: float = 0.01,
    clip: float = 1.0,
    accumulate: int = 1,
    on_step: Callable[[int, list], object] | None = None,
) -> list[float]:
    """The loop of exercise 5.6, for batches in one part."""
    losses = []
    for step in range(n_steps):
        batch = batches.at(step)
        output = model(batch.inputs)
        task = cross_entropy(output.logits.flatten(0, 1), batch.targets.flatten())
        uneven = torch.stack([balance_loss(routing) for routing in output.routings]).mean()
        optimizer.zero_grad()
        (task + balance_coef * uneven).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step)
        optimizer.step()
        losses.append(task.item())
        if on_step is not None:
            on_step(step, [output])
    return losses


def move(expert_bias: Tensor, expert_ids: Tensor, rate: float) -> Tensor:
    """One step of exercise 6.3."""
    counts = torch.bincount(expert_ids.flatten(), minlength=len(expert_bias))
    return update_expert_bias(expert_bias, counts, rate)


PARTS: dict[str, Callable[..., Any]] = {"loop": loop, "balance": balance, "move": move}


def squared(probs: Tensor, expert_ids: Tensor) -> Tensor:
    """Another balancing loss than the loop's own, to see which one is used."""
    return balance(probs, expert_ids).square()


def model_and_optimizer(sizes: tuple[Any, ...], seed: int) -> tuple[KindsModel, Any]:
    """Build the toy on a small layer; the first weights depend on the seed alone."""
    with seeded(seed):
        model = KindsModel(SmallLayer(*sizes))
    return model, torch.optim.Adam(model.parameters(), lr=1.0)


def biased_route(bias: Tensor, slip: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """Make a route that chooses by probabilities plus a bias."""

    def route(logits: Tensor, top_k: int, normalize_gates: bool) -> tuple[Tensor, Tensor]:
        probs = logits.softmax(dim=-1)
        ranking = (logits if slip == "logits" else probs) + bias
        ids = ranking.topk(top_k, dim=-1).indices
        gates = (ranking if slip == "weighs" else probs).gather(-1, ids)
        is_one = normalize_gates and slip != "raw gates"
        return gates / gates.sum(dim=-1, keepdim=True) if is_one else gates, ids

    return route


def right(
    model: KindsModel,
    optimizer: Any,
    batches: Any,
    n_steps: int,
    lr: float,
    cure: str,
    strength: float,
    *,
    slip: str = "",
    **parts: Callable[..., Any],
) -> Tensor:
    """Train with one of the cures; `slip` names the one thing that goes wrong."""
    parts = {**PARTS, **parts}
    layer, counts = model.layer, []
    bias = torch.zeros(layer.router.out_features)

    def after(step: int, outputs: list) -> None:
        ids = torch.cat([routing.expert_ids for out in outputs for routing in out.routings])
        counts.append(tokens_per_expert(outputs[0].routings[0]))
        if cure == "bias" and slip != "still":
            moved = parts["move"](bias, ids, strength)
            bias.copy_(2 * bias - moved if slip == "sign" else moved)

    if cure == "bias":
        layer.route = biased_route(bias, slip)
    uneven = balance if slip == "library" else parts["balance"]
    coef = strength if cure == "loss" or slip == "both" else 0.0
    coef = 0.01 if slip == "default" else coef
    parts["loop"](
        model,
        optimizer,
        batches,
        n_steps,
        lambda step: lr,
        balance_loss=lambda routing: uneven(routing.probs, routing.expert_ids),
        balance_coef=coef,
        on_step=after,
    )
    return torch.stack(counts)


SLIPS = {
    "default": "The loop balances by itself, with its own factor of 0.01. Say balance_coef every "
    'time: 0.0 where nothing is asked for, and `strength` for "loss".',
    "library": "The loop used its own balancing loss. Hand it yours as `balance_loss`, a function "
    "of one routing, that calls `balance(routing.probs, routing.expert_ids)`.",
    "both": 'With the bias there is no balancing loss: balance_coef is for "loss" alone.',
    "still": "The bias never moves. Change the very tensor that your route adds: "
    "`bias.copy_(move(bias, expert_ids, strength))`. A new name inside a function is a new tensor.",
    "sign": "The bias moves towards the crowd. `move` gives the *new* bias; take it as it is.",
    "logits": "The bias was added to the logits. It is added to the probabilities.",
    "weighs": "The bias is in the gates. It chooses and never weighs: gather the gates from the "
    "probabilities without it.",
    "raw gates": "With `normalize_gates` the gates of a token are divided by their sum, as the "
    "layer's first route does.",
}
