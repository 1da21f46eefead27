"""A memory task of known size: how many bits does a layer of given parameters and FLOPs hold?

There are 128 x 128 keys. Each has one of 64 values, drawn at random, so 6 bits a key and nothing
to generalise: what the model knows, it has stored.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moe_teach.config import RouterConfig, ScoreFn
from moe_teach.nn.experts import Experts
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.router import Router
from moe_teach.ops.balance import load, load_entropy, max_violation, tokens_per_expert
from moe_teach.ops.dispatch import combine, dispatch
from moe_teach.ops.losses import load_balance_loss
from moe_teach.train.bias import update_expert_biases
from moe_teach.train.config import TrainConfig, learning_rate
from moe_teach.train.horizons import Horizon
from moe_teach.train.optimizer import build_optimizer
from moe_teach.types import Routing

SIDE, N_VALUES, D_MODEL = 128, 64, 32
N_KEYS, BITS_PER_KEY = SIDE * SIDE, math.log2(N_VALUES)
N_STEPS, BATCH = 900, 1024
LR = 1e-2
EVERY = 75  # steps between two measurements

Rule = Literal["learned", "random", "hash", "half hash", "sum rule", "weighed hash"]


@dataclass(frozen=True, kw_only=True)
class Design:
    """One feed-forward layer: `n_experts` experts of inner width `d_ff`, 0 for a dense layer.

    `rule` says who chooses: the router, a die that is thrown anew for every token and call, or a
    rule that never changes (see `fixed_choice`). `n_shared` adds an always-on expert of width
    `n_shared * d_ff`.
    """

    d_ff: int
    n_experts: int = 0
    top_k: int = 0
    n_shared: int = 0
    rule: Rule = "learned"
    score_fn: ScoreFn = "softmax"
    normalize_gates: bool = True
    n_groups: int = 1
    top_groups: int = 1
    load_balance_coef: float = 0.01
    bias_update_rate: float = 0.0

    @property
    def router(self) -> RouterConfig:
        """The router's part of the design."""
        return RouterConfig(
            n_experts=self.n_experts,
            top_k=self.top_k,
            score_fn=self.score_fn,
            normalize_gates=self.normalize_gates,
            n_groups=self.n_groups,
            top_groups=self.top_groups,
        )


class MemoryNet(nn.Module):
    """Two embeddings make a key, one residual feed-forward looks it up, a matrix reads the value.

    Call it with key numbers (T,); it returns logits (T, 64) and the routing, or None where the
    layer is dense.
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.halves = nn.Embedding(2 * SIDE, D_MODEL)
        self.norm_in, self.norm_out = nn.RMSNorm(D_MODEL), nn.RMSNorm(D_MODEL)
        self.unembedding = nn.Linear(D_MODEL, N_VALUES, bias=False)
        self.router = self.experts = self.always_on = None
        width = design.d_ff if not design.n_experts else design.n_shared * design.d_ff
        if width:
            self.always_on = FeedForward(D_MODEL, width, "gelu")
        if design.n_experts:
            self.router = Router(D_MODEL, design.router)
            self.experts = Experts(design.n_experts, D_MODEL, design.d_ff, "gelu")

    def forward(self, keys: Tensor) -> tuple[Tensor, Routing | None]:
        """Look up keys: (T,) -> logits (T, 64) and who was asked."""
        x = self.halves(keys // SIDE) + self.halves(SIDE + keys % SIDE)
        h = self.norm_in(x)
        y = torch.zeros_like(x) if self.always_on is None else self.always_on(h)
        routing = None if self.router is None else self._route(keys, h)
        if routing is not None:
            rows, dispatched = dispatch(h, routing)
            y = y + combine(
                self.experts(rows, dispatched.expert_offsets), routing.gates, dispatched
            )
        return self.unembedding(self.norm_out(x + y)), routing

    def _route(self, keys: Tensor, h: Tensor) -> Routing:
        learned, n_experts = self.router(h), self.design.n_experts
        if self.design.rule == "learned":
            return learned
        if self.design.rule == "random":
            expert_ids = torch.randint(0, n_experts, (len(keys), 1))
        else:
            expert_ids = fixed_choice(keys, n_experts, self.design.rule)[:, None]
        gates = torch.ones(len(keys), 1)
        if self.design.rule == "weighed hash":  # the gate that a learned top-1 router has
            gates = learned.probs.gather(1, expert_ids)
        return Routing(learned.logits, learned.probs, gates, expert_ids)


def fixed_choice(keys: Tensor, n_experts: int, rule: Rule) -> Tensor:
    """Choose an expert for every key, (T,) -> (T,), always the same one.

    "half hash" reads the first half of the key only. "sum rule" reads both, and adds a score for
    each: what a linear router on the sum of two embeddings could learn. Else the whole key is
    hashed, which no such sum can express.
    """
    if rule == "sum rule":
        draw = torch.Generator().manual_seed(n_experts)
        scores = torch.randn(2 * SIDE, n_experts, generator=draw)
        return (scores[keys // SIDE] + scores[SIDE + keys % SIDE]).argmax(dim=-1)
    hashed = keys // SIDE if rule == "half hash" else keys
    # A multiplicative hash: neighbouring numbers land far apart.
    return hashed * 2654435761 % 2**32 * n_experts >> 32


def facts(seed: int) -> Tensor:
    """Return the value of every key (16384,), drawn from the seed."""
    return torch.randint(0, N_VALUES, (N_KEYS,), generator=torch.Generator().manual_seed(seed))


def lessons(
    design: Design, seed: int, n_steps: int = N_STEPS, *, length: int = N_STEPS, lr: float = LR
) -> Iterator[MemoryNet]:
    """Train a new net and give it back after every step, up to `n_steps` of all `length`.

    The learning rate follows the schedule of all `length` steps, so a run that ends early is the
    beginning of a long one.
    """
    torch.manual_seed(seed)
    values, net = facts(seed), MemoryNet(design)
    schedule = TrainConfig(steps=length, lr=lr, warmup=20)
    optimizer = build_optimizer(net, schedule.lr, weight_decay=0.0)
    for step in range(n_steps):
        keys = torch.randint(0, N_KEYS, (BATCH,))
        logits, routing = net(keys)
        loss = F.cross_entropy(logits, values[keys])
        if routing is not None and design.load_balance_coef:
            loss = loss + design.load_balance_coef * load_balance_loss(routing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, schedule)
        optimizer.step()
        if routing is not None and design.bias_update_rate:
            counts = [tokens_per_expert(routing)]
            update_expert_biases(net, counts, design.bias_update_rate)
        yield net


@torch.no_grad()
def kilobits(net: MemoryNet, values: Tensor) -> float:
    """Return how many thousand bits about all values the net holds: 6 a key, minus its doubt."""
    logits, _ = net.eval()(torch.arange(N_KEYS))
    net.train()
    doubt = F.cross_entropy(logits, values).item() / math.log(2)
    return N_KEYS * max(BITS_PER_KEY - doubt, 0.0) / 1000


def memorise(design: Design, seed: int, n_steps: int = N_STEPS) -> dict[str, Any]:
    """Train one net and say what it holds, step by step, and how its experts share the keys."""
    return _watched(lessons(design, seed, n_steps), facts(seed), n_steps, EVERY)


def memorise_for(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Train one net of a design on a schedule of the horizon's length; measure it twelve times."""
    steps = horizon.steps
    nets = lessons(horizon.setting, seed, steps, length=steps, lr=horizon.lr)
    return _watched(nets, facts(seed), steps, steps // 12)


def _watched(nets: Iterator[MemoryNet], values: Tensor, n_steps: int, every: int) -> dict[str, Any]:
    curve = []
    for step, net in enumerate(nets, start=1):
        if step % every == 0 or step == n_steps:
            curve.append([step, round(kilobits(net, values), 3)])
    with torch.no_grad():
        logits, routing = net.eval()(torch.arange(N_KEYS))
    correct = (logits.argmax(dim=-1) == values).float().mean().item()
    result = {"kilobits": curve[-1][1], "accuracy": round(correct, 4), "curve": curve}
    return result | ({} if routing is None else _sharing(net, routing))


def _sharing(net: MemoryNet, routing: Routing) -> dict[str, Any]:
    share = load(routing)
    per_group = net.design.n_experts // max(net.design.n_groups, 8) or 1
    touched = (routing.expert_ids // per_group).sort(dim=-1).values.diff(dim=-1) > 0
    return {
        "max_violation": round(float(max_violation(routing)), 3),
        "entropy": round(float(load_entropy(routing)), 4),
        "dead": int((share * net.design.n_experts < 0.1).sum()),
        "groups_touched": round(1 + touched.sum(dim=-1).float().mean().item(), 3),
    }
