"""Chapter 06, the open task: the toy trained under a reader's own way of balancing.

Toys of several seeds are trained side by side, as one toy with a further dimension: S seeds cost
little more than one, and their rules are asked together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from moe_teach.chapters.ch06_load_balancing.experiments.kinds import (
    BATCH,
    D_MODEL,
    LEARNING_RATE,
    N_KINDS,
    N_TEST,
    N_TRAIN,
    Samples,
    Setting,
    Toy,
    tokens_of_kinds,
)
from moe_teach.judging.elsewhere import in_turn
from moe_teach.ops.balance import max_violation
from moe_teach.seeding import seeded

N_STEPS = 500


@dataclass(frozen=True)
class RuledRun:
    """What a training left: rows per expert at each step (steps, E), and the test."""

    counts: Tensor
    accuracy: float
    test_counts: Tensor

    @property
    def violation(self) -> float:
        """MaxVio on the test tokens."""
        return float(max_violation(self.test_counts))


def train_with(make: Any, seed: int, n_steps: int = N_STEPS) -> RuledRun:
    """Train the toy of the lesson under `make(n_experts, d_model, n_steps)`."""
    return train_side_by_side(make, [seed], n_steps)[0]


def train_side_by_side(make: Any, seeds: Sequence[int], n_steps: int = N_STEPS) -> list[RuledRun]:
    """Train a toy for each seed, each under a rule of its own.

    The rule sees tokens and choices, and neither labels nor kinds. Data, first weights and batches
    are those of `train_kinds` with the same seed.
    """
    data = [tokens_of_kinds(seed, N_TRAIN + N_TEST) for seed in seeds]
    pairs = []
    for seed in seeds:
        with seeded(seed):
            pairs.append((Toy(Setting()), make(N_KINDS, D_MODEL, n_steps)))
    toys, rules = _Toys([toy for toy, _ in pairs]), [rule for _, rule in pairs]
    optimiser = torch.optim.Adam(toys.parameters(), lr=LEARNING_RATE, fused=True)
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    bias, counts, told = torch.zeros(len(seeds), N_KINDS), [], []
    for step in range(n_steps):
        rows = [torch.randint(N_TRAIN, (BATCH,), generator=draw) for draw in draws]
        x, label = _picked(data, rows)
        # What a rule is told of the last step and shown of this one needs no answer in between.
        *biases, seen = _answers(in_turn([*told, *_looks(rules, x, training=True)]), len(rules))
        bias = biases[0].detach() if biases else bias
        probs, expert_ids = toys.routed(seen, bias)
        loss = cross_entropy(toys(x, probs, expert_ids), label.flatten(), reduction="sum") / BATCH
        asked = [(rule, "loss", probs[s], expert_ids[s], step) for s, rule in enumerate(rules)]
        optimiser.zero_grad()
        (loss + sum(in_turn(asked))).backward()
        optimiser.step()
        told = [(rule, "bias", expert_ids[s], step) for s, rule in enumerate(rules)]
        counts.append(_rows_per_expert(expert_ids))
    bias = torch.stack(in_turn(told)).detach()
    return _tested(toys, rules, data, bias, torch.stack(counts, dim=1))


class _Toys(nn.Module):
    """The lesson's toys, stacked."""

    def __init__(self, toys: list[Toy]) -> None:
        super().__init__()
        self.router = nn.Parameter(torch.stack([toy.router.proj.weight.detach() for toy in toys]))
        self.w_up = nn.Parameter(torch.stack([toy.w_up.detach() for toy in toys]))
        self.w_down = nn.Parameter(torch.stack([toy.w_down.detach() for toy in toys]))

    def routed(
        self, seen: Float[Tensor, "S T D"], bias: Float[Tensor, "S E"]
    ) -> tuple[Float[Tensor, "S T E"], Int[Tensor, "S T 1"]]:
        """Let each token choose the best expert by probability plus bias."""
        probs = torch.einsum("std,sed->ste", seen, self.router).softmax(dim=-1)
        return probs, (probs + bias[:, None]).argmax(dim=-1, keepdim=True)

    def forward(
        self,
        x: Float[Tensor, "S T D"],
        probs: Float[Tensor, "S T E"],
        expert_ids: Int[Tensor, "S T 1"],
    ) -> Float[Tensor, "ST C"]:
        """Give the class logits of the chosen experts, weighed by their gates, without bias."""
        gates = torch.zeros_like(probs).scatter(-1, expert_ids, probs.gather(-1, expert_ids))
        hidden = torch.einsum("std,sedf->stef", x, self.w_up).relu()
        heard = torch.einsum("stef,sefc->stec", hidden, self.w_down)
        return torch.einsum("ste,stec->stc", gates, heard).flatten(0, 1)


def _picked(data: list[Samples], rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Give tokens (S, T, D) and labels (S, T)."""
    x = torch.stack([samples.x[own] for samples, own in zip(data, rows, strict=True)])
    return x, torch.stack([one.label[own] for one, own in zip(data, rows, strict=True)])


def _looks(rules: list[Any], x: Tensor, *, training: bool) -> list[tuple[Any, ...]]:
    """Show each rule its tokens: a copy, for the experts see them as they are."""
    return [(rule, "see", x[s].clone(), training) for s, rule in enumerate(rules)]


def _answers(found: list[Tensor], n_rules: int) -> list[Tensor]:
    """Stack what all rules gave to the same question."""
    return [torch.stack(found[i : i + n_rules]) for i in range(0, len(found), n_rules)]


def _rows_per_expert(expert_ids: Int[Tensor, "S T 1"]) -> Int[Tensor, "S E"]:
    counts = torch.zeros(len(expert_ids), N_KINDS, dtype=torch.long)
    return counts.scatter_add(1, expert_ids[..., 0], torch.ones_like(expert_ids[..., 0]))


def _tested(
    toys: _Toys, rules: list[Any], data: list[Samples], bias: Tensor, counts: Tensor
) -> list[RuledRun]:
    """Let the test tokens choose one by one, with the last bias."""
    x, label = _picked(data, [torch.arange(N_TRAIN, N_TRAIN + N_TEST)] * len(data))
    with torch.no_grad():
        seen = torch.stack(in_turn(_looks(rules, x, training=False)))
        probs, expert_ids = toys.routed(seen, bias)
        right = toys(x, probs, expert_ids).argmax(dim=-1).unflatten(0, label.shape) == label
    shares = right.float().mean(dim=1).tolist()
    tests = _rows_per_expert(expert_ids)
    return [RuledRun(*one) for one in zip(counts, shares, tests, strict=True)]
