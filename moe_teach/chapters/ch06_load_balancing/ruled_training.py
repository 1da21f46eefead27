"""Chapter 06, the open task: the toy trained under a reader's own way of balancing."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from moe_teach.chapters.ch06_load_balancing.experiments.kinds import (
    BATCH,
    D_MODEL,
    LEARNING_RATE,
    N_KINDS,
    N_TEST,
    N_TRAIN,
    Setting,
    Toy,
    dense_gates,
    rows_per_expert,
    tokens_of_kinds,
)
from moe_teach.ops.balance import max_violation
from moe_teach.seeding import seeded
from moe_teach.types import Routing

N_STEPS = 500


@dataclass(frozen=True)
class RuledRun:
    """What a training left: rows per expert at each step (S, E), and the test, one token a time."""

    counts: Tensor
    accuracy: float
    test_counts: Tensor

    @property
    def violation(self) -> float:
        """MaxVio on the test tokens."""
        return float(max_violation(self.test_counts))


def train_with(make: Any, seed: int, n_steps: int = N_STEPS) -> RuledRun:
    """Train the toy of the lesson under `make(n_experts, d_model, n_steps)`.

    The rule sees tokens and choices, and neither labels nor kinds. Data, first weights and batches
    are those of `train_kinds` with the same seed.
    """
    samples = tokens_of_kinds(seed, N_TRAIN + N_TEST)
    with seeded(seed):
        toy = Toy(Setting())
        rule = make(N_KINDS, D_MODEL, n_steps)
    optimiser = torch.optim.Adam(toy.parameters(), lr=LEARNING_RATE, fused=True)
    draw, bias, counts = torch.Generator().manual_seed(seed), torch.zeros(N_KINDS), []
    for step in range(n_steps):
        batch = samples.at(torch.randint(N_TRAIN, (BATCH,), generator=draw))
        routing = routed(toy, rule, batch.x, bias, training=True)
        loss = cross_entropy(answers(toy, batch.x, routing), batch.label)
        optimiser.zero_grad()
        (loss + rule.loss(routing.probs, routing.expert_ids, step)).backward()
        optimiser.step()
        bias = rule.bias(routing.expert_ids, step).detach()
        counts.append(rows_per_expert(routing))
    test = samples.at(torch.arange(N_TRAIN, N_TRAIN + N_TEST))
    with torch.no_grad():
        routing = routed(toy, rule, test.x, bias, training=False)
        right = answers(toy, test.x, routing).argmax(dim=-1) == test.label
    return RuledRun(torch.stack(counts), right.float().mean().item(), rows_per_expert(routing))


def routed(toy: Toy, rule: Any, x: Tensor, bias: Tensor, *, training: bool) -> Routing:
    """Let each token choose the best expert by probability plus bias; its gate has no bias."""
    logits = toy.router.proj(rule.see(x.clone(), training))  # the experts see x as it is
    probs = logits.softmax(dim=-1)
    expert_ids = (probs + bias).argmax(dim=-1, keepdim=True)
    return Routing(logits, probs, probs.gather(-1, expert_ids), expert_ids)


def answers(toy: Toy, x: Tensor, routing: Routing) -> Tensor:
    """Give the class logits of the chosen experts, weighed by their gates."""
    hidden = torch.einsum("td,edf->tef", x, toy.w_up).relu()
    heard = torch.einsum("tef,efc->tec", hidden, toy.w_down)
    return torch.einsum("te,tec->tc", dense_gates(routing), heard)
