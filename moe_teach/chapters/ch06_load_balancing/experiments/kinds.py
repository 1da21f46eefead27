"""Chapter 06, the clear case: tokens of eight kinds, eight small experts, and a router between.

The tokens have a large part that all of them share, for good; hidden states of a language model had
one for some steps only (`alike`). To a new router they are nearly the same token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.config import RouterConfig
from moe_teach.nn.router import Router
from moe_teach.ops.balance import load_entropy, max_violation, update_expert_bias
from moe_teach.ops.losses import load_balance_loss, router_z_loss
from moe_teach.seeding import seeded
from moe_teach.types import Routing

D_MODEL, D_FF, N_KINDS, N_CLASSES = 16, 8, 8, 2
SHARED = 4.0  # in every feature of every token; the other two parts have variance 1
N_TRAIN, N_TEST, BATCH = 4096, 2048, 128
LEARNING_RATE = 0.005

Choose = Literal["learned", "expert choice", "by sample", "by kind"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to balance the router of the toy.

    `router` "by sample" deals samples out like cards, "by kind" is told the truth. `detached`
    cuts the balancing loss off from the router, as a careless log line would. `shared` is what
    all tokens have in common, a number in each of their features.
    """

    load_balance_coef: float = 0.0
    z_loss_coef: float = 0.0
    bias_update_rate: float = 0.0
    router: Choose = "learned"
    detached: bool = False
    n_experts: int = 8
    steps: int = 500
    shared: float = SHARED


@dataclass(frozen=True)
class Samples:
    """Tokens x (T, D), their labels and kinds (T,), and their numbers (T,) in the data."""

    x: Tensor
    label: Tensor
    kind: Tensor
    number: Tensor

    def at(self, rows: Tensor) -> "Samples":
        """Return some of the samples."""
        return Samples(self.x[rows], self.label[rows], self.kind[rows], self.number[rows])


def tokens_of_kinds(seed: int, n_tokens: int, shared: float = SHARED) -> Samples:
    """Draw tokens: a part common to all, a part of their kind, and a part of their own.

    The label is read off the token's own part by a linear map, and every kind has another map. So
    one expert per kind would do, and a single small expert for all cannot.
    """
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(N_KINDS, D_MODEL, generator=draw)
    maps = torch.randn(N_KINDS, N_CLASSES, D_MODEL, generator=draw)
    kind = torch.randint(N_KINDS, (n_tokens,), generator=draw)
    own = torch.randn(n_tokens, D_MODEL, generator=draw)
    label = torch.einsum("tcd,td->tc", maps[kind], own).argmax(dim=-1)
    return Samples(shared + centres[kind] + own, label, kind, torch.arange(n_tokens))


class Toy(nn.Module):
    """A layer of small experts that answer with class logits; everyone computes, one is heard."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        choice = "expert" if setting.router == "expert choice" else "token"
        n_experts = setting.n_experts
        # One expert per token: its gate must stay a probability, or the router learns nothing.
        config = RouterConfig(n_experts=n_experts, top_k=1, normalize_gates=False, choice=choice)
        self.setting, self.router = setting, Router(D_MODEL, config)
        self.w_up = nn.Parameter(torch.randn(n_experts, D_MODEL, D_FF) / D_MODEL**0.5)
        self.w_down = nn.Parameter(torch.randn(n_experts, D_FF, N_CLASSES) / D_FF**0.5)

    def forward(self, samples: Samples) -> tuple[Tensor, Routing]:
        """Return class logits (T, C) and the routing."""
        routing = self.route(samples)
        hidden = torch.einsum("td,edf->tef", samples.x, self.w_up).relu()
        answers = torch.einsum("tef,efc->tec", hidden, self.w_down)
        return torch.einsum("te,tec->tc", dense_gates(routing), answers), routing

    def route(self, samples: Samples) -> Routing:
        """Ask the router, or the fixed rule that stands in its place."""
        if self.setting.router not in ("by sample", "by kind"):
            return self.router(samples.x)
        by_sample = self.setting.router == "by sample"
        expert_ids = (samples.number if by_sample else samples.kind)[:, None]
        expert_ids = expert_ids % self.setting.n_experts
        probs = F.one_hot(expert_ids[:, 0], self.setting.n_experts).float()
        return Routing(probs.clamp_min(1e-9).log(), probs, torch.ones(len(probs), 1), expert_ids)


def dense_gates(routing: Routing) -> Tensor:
    """Write the gates of the choices that are carried out into a matrix (T, E)."""
    gates = routing.gates if routing.kept is None else routing.gates * routing.kept
    return torch.zeros_like(routing.probs).scatter(1, routing.expert_ids, gates)


def rows_per_expert(routing: Routing) -> Tensor:
    """Count the choices that are carried out: (E,)."""
    kept = torch.ones_like(routing.expert_ids) if routing.kept is None else routing.kept.long()
    counts = torch.zeros(routing.n_experts, dtype=torch.long)
    return counts.scatter_add(0, routing.expert_ids.flatten(), kept.flatten())


def total_loss(logits: Tensor, label: Tensor, routing: Routing, setting: Setting) -> Tensor:
    """Add what the setting asks for to the task's cross-entropy."""
    loss = F.cross_entropy(logits, label)
    if setting.detached:
        routing = replace(routing, logits=routing.logits.detach(), probs=routing.probs.detach())
    if setting.load_balance_coef:
        loss = loss + setting.load_balance_coef * load_balance_loss(routing)
    if setting.z_loss_coef:
        loss = loss + setting.z_loss_coef * router_z_loss(routing)
    return loss


@dataclass(frozen=True)
class Run:
    """What one training left: rows per expert at each step (steps, E), and its test."""

    counts: Tensor
    accuracy: float
    test_counts: Tensor
    weights: Tensor  # the router's matrix at the end

    @property
    def alive(self) -> int:
        """How many experts get at least a tenth of their fair share of the test tokens."""
        share = self.test_counts / self.test_counts.sum()
        return int((share >= 0.1 / len(share)).sum())


def train_kinds(setting: Setting, seed: int) -> Run:
    """Train the toy; data, first weights and batches depend on the seed alone."""
    samples = tokens_of_kinds(seed, N_TRAIN + N_TEST, setting.shared)
    with seeded(seed):
        toy = Toy(setting)
    optimiser = torch.optim.Adam(toy.parameters(), lr=LEARNING_RATE, fused=True)
    draw, counts = torch.Generator().manual_seed(seed), []
    for _ in range(setting.steps):
        batch = samples.at(torch.randint(N_TRAIN, (BATCH,), generator=draw))
        logits, routing = toy(batch)
        optimiser.zero_grad()
        total_loss(logits, batch.label, routing, setting).backward()
        optimiser.step()
        counts.append(rows_per_expert(routing))
        bias = toy.router.expert_bias
        bias.copy_(update_expert_bias(bias, counts[-1], setting.bias_update_rate))
    with torch.no_grad(), choosing_by_token(toy.router):
        held_back = samples.at(torch.arange(N_TRAIN, N_TRAIN + N_TEST))
        logits, routing = toy(held_back)
    right = (logits.argmax(dim=-1) == held_back.label).float().mean().item()
    weights = toy.router.proj.weight.detach()
    return Run(torch.stack(counts), right, rows_per_expert(routing), weights)


@contextmanager
def choosing_by_token(router: Router) -> Iterator[None]:
    """Let tokens choose, for a test: one token at a time is what a router meets in use."""
    config = router.config
    router.config = replace(config, choice="token")
    yield
    router.config = config


def measure_kinds(setting: Setting, seed: int) -> dict[str, Any]:
    """Run one cell of the grid: quality and balance on the test tokens, balance in training."""
    run = train_kinds(setting, seed)
    last = run.counts[-50:].sum(dim=0)
    return {
        "accuracy": round(run.accuracy, 4),
        "alive": run.alive,
        "entropy": round(float(load_entropy(run.test_counts)), 4),
        "max_violation": round(float(max_violation(run.test_counts)), 3),
        "entropy_in_training": round(float(load_entropy(last)), 4),
        "max_violation_in_training": round(float(max_violation(last)), 3),
    }


METHODS = {
    "no balancing": Setting(),
    "Switch loss": Setting(load_balance_coef=0.1),
    "z-loss": Setting(z_loss_coef=0.01),
    "expert bias": Setting(bias_update_rate=0.01),
    "expert choice": Setting(router="expert choice"),
    "dealt like cards": Setting(router="by sample"),
}
REFERENCES = {
    "one expert": Setting(n_experts=1),
    "told the kind": Setting(router="by kind"),
    "Switch loss, detached": Setting(load_balance_coef=0.1, detached=True),
    "nothing in common": Setting(shared=0.0),
}
STRENGTHS = {
    "Switch loss": ("load_balance_coef", (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0)),
    "z-loss": ("z_loss_coef", (0.001, 0.01, 0.1, 1.0)),
    "expert bias": ("bias_update_rate", (0.001, 0.003, 0.01, 0.03)),
}


def strength_name(method: str, strength: float) -> str:
    """Name one point of the trade-off, for example "Switch loss 0.1"."""
    return f"{method} {strength:g}"


KINDS = {
    **METHODS,
    **REFERENCES,
    **{
        strength_name(method, strength): Setting(**{field: strength})
        for method, (field, strengths) in STRENGTHS.items()
        for strength in strengths
    },
}
