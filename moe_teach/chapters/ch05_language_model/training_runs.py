"""Exercise 5.6: a tiny model, batches for a few steps, the right loop and the usual wrong ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.judging.exercise import generator
from moe_teach.judging.stand_ins import SmallLayer
from moe_teach.nn.model import ModelOutput
from moe_teach.ops.losses import load_balance_loss
from moe_teach.seeding import seeded
from moe_teach.train.optimizer import build_optimizer

VOCABULARY, N_ROWS, LENGTH = 11, 4, 5
D_MODEL, N_EXPERTS, TOP_K, D_FF = 8, 3, 2, 4


class FewBatches:
    """Batches that depend on seed and step alone; the first rows are asked less than the last."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.asked: list[int] = []  # the steps that somebody wanted

    def at(self, step: int) -> Batch:
        """Give the batch of a step."""
        self.asked.append(step)
        text = torch.randint(
            VOCABULARY, (N_ROWS, LENGTH + 1), generator=generator(100 * self.seed + step)
        )
        targets = text[:, 1:].clone()
        targets[0, : LENGTH - 1] = NO_TARGET
        targets[1, ::2] = NO_TARGET
        return Batch(text[:, :-1], targets, torch.zeros(N_ROWS, dtype=torch.long))


class TwoLayers(nn.Module):
    """Two MoE layers between embedding and head: all that a loop needs of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, D_MODEL)
        self.layers = nn.ModuleList(
            SmallLayer(D_MODEL, N_EXPERTS, TOP_K, D_FF, normalize_gates=True) for _ in range(2)
        )
        self.head = nn.Linear(D_MODEL, VOCABULARY)

    def forward(self, token_ids: Tensor) -> ModelOutput:
        """Return the logits (B, S, V), and each layer's routing."""
        x, routings = self.embed(token_ids), []
        for layer in self.layers:
            y, routing = layer(x)
            x = x + y
            routings.append(routing)
        return ModelOutput(self.head(x), tuple(routings))


@dataclass
class Course:
    """One run of a few steps: a fresh model, its optimiser, and how it is to be trained."""

    model: TwoLayers
    optimizer: torch.optim.Optimizer
    batches: FewBatches
    n_steps: int
    lr_at: Callable[[int], float]
    options: dict[str, Any]

    def with_loop(self, loop: Callable[..., Any]) -> Any:
        """Hand everything to a loop, in the stub's order."""
        return loop(
            self.model, self.optimizer, self.batches, self.n_steps, self.lr_at, **self.options
        )


def course(seed: int, n_steps: int = 3, **options: Any) -> Course:
    """Prepare a run; the same seed gives the same first weights and the same batches."""
    with seeded(seed):
        model = TwoLayers()
    with torch.no_grad():
        for parameter in model.parameters():  # large enough for clipping to matter
            parameter.mul_(2)
    return Course(
        model.eval(),
        build_optimizer(model, lr=1.0, weight_decay=0.01),  # a rate that nobody should train with
        FewBatches(seed),
        n_steps,
        lambda step: 0.02 * (step + 1) / n_steps,
        options,
    )


def right_loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Any,
    n_steps: int,
    lr_at: Callable[[int], float],
    balance_loss: Callable[..., Tensor] = load_balance_loss,
    balance_coef: float = 0.01,
    clip: float = 1.0,
    accumulate: int = 1,
    on_step: Callable[..., object] | None = None,
    *,
    slip: str = "",
) -> list[float]:
    """Train; `slip` names the one thing that goes wrong."""
    losses = []
    model.train(slip != "eval")
    for step in range(n_steps):
        batch = batches.at(0 if slip == "one batch" else step)
        if slip != "no zero_grad" or step == 0:
            optimizer.zero_grad()
        task, outputs = backward(model, batch, balance_loss, balance_coef, accumulate, slip)
        if slip != "no clip":
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        set_rate(optimizer, lr_at, step, slip)
        if slip != "no step":
            optimizer.step()
        set_rate(optimizer, lr_at, step, "" if slip == "rate late" else "no rate")
        losses.append(task)
        if on_step is not None:
            on_step(step, outputs)
    return losses


def backward(
    model: nn.Module,
    batch: Batch,
    balance_loss: Callable[..., Tensor],
    coef: float,
    accumulate: int,
    slip: str,
) -> tuple[float, list[Any]]:
    """Add up the gradients of all parts of a batch; give its task loss and the parts' outputs."""
    n_asked, total, outputs = int((batch.targets != NO_TARGET).sum()), 0.0, []
    parts = zip(batch.inputs.chunk(accumulate), batch.targets.chunk(accumulate), strict=True)
    for inputs, targets in parts:
        output = model(inputs)
        outputs.append(output)
        wrong = cross_entropy(output.logits.flatten(0, 1), targets.flatten(), reduction="sum")
        each = {
            "mean of means": accumulate * int((targets != NO_TARGET).sum()),
            "part's mean": int((targets != NO_TARGET).sum()),
            "padding counts": batch.targets.numel(),
        }
        task = wrong / each.get(slip, n_asked)
        layers = torch.stack([balance_loss(routing) for routing in output.routings])
        balance = layers.sum() if slip == "sum of layers" else layers.mean()
        weight = {"no balance": 0.0, "balance uncut": coef}.get(slip, coef / accumulate)
        loss = task + weight * balance
        loss.backward()
        total += float(loss.detach() if slip == "total" else task.detach())
    return total, outputs


def set_rate(optimizer: Any, lr_at: Callable[[int], float], step: int, slip: str) -> None:
    """Give every group its learning rate."""
    if slip in ("no rate", "rate late"):
        return
    for group in optimizer.param_groups[: 1 if slip == "one group" else None]:
        group["lr"] = lr_at(step)


SLIPS = {
    "no zero_grad": "The gradients of earlier steps are still there: `backward()` adds. Empty them "
    "with `optimizer.zero_grad()` once for each step.",
    "one batch": "Every step learns from the same batch. Ask for `batches.at(step)`.",
    "no clip": "The gradient is never clipped, or before there is one: "
    "nn.utils.clip_grad_norm_(model.parameters(), clip) stands between backward and step.",
    "no rate": "The optimiser keeps the learning rate it was made with. Every group of "
    '`optimizer.param_groups` has its "lr": set it to lr_at(step).',
    "rate late": "The learning rate is set after the step, so each step uses that of the one "
    "before.",
    "one group": "Only the first of the optimiser's groups gets the learning rate; there are two, "
    "with and without weight decay.",
    "no step": "The weights never move: `optimizer.step()` is missing.",
    "padding counts": "The loss was divided by all positions. Those with target -100 are not asked "
    "for, and do not count.",
    "mean of means": "The parts' means were averaged. A part with few questions then counts as "
    "much as one with many: divide each part's *sum* by the questions of the whole batch.",
    "part's mean": "Each part's mean was added up. Divide each part's *sum* by the questions of "
    "the whole batch.",
    "no balance": "The balancing loss is not in what `backward()` starts from.",
    "sum of layers": "The balancing losses of the layers were summed. Take their mean.",
    "balance uncut": "With several parts the balancing loss counts several times: it is the mean "
    "over the parts.",
    "total": "These are total losses. Return the task's alone: runs with another `balance_coef` "
    "could not be compared.",
}
