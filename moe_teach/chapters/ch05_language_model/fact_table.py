"""Exercise 5.8: a table of random facts, and a tiny model that learns it within a budget of FLOPs.

A fact is a row, a column and the value that stands there. The model adds an embedding of the row
and one of the column, sends the sum through one feed-forward, dense or of experts, with a residual
around it, and reads the value off. Nothing can be worked out: values are drawn at random.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding

from moe_teach.judging.exercise import generator

N_ROWS, N_VALUES = 32, 16
BUDGET = 250_000_000  # FLOPs of training: forward and backward
RANGES = {
    "width": (4, 128),
    "n_experts": (1, 64),
    "top_k": (1, 4),
    "d_ff": (1, 512),
    "batch": (16, 1600),
}
LESSON = {"width": 32, "n_experts": 1, "top_k": 1, "d_ff": 64, "batch": 256, "lr": 0.004}
MOST_STEPS = 1000

Recipe = Mapping[str, float]


class TinyModels(nn.Module):
    """Row and column in, logits of the value out: one model for each seed, side by side.

    One expert means a dense net, without a router. With one of several experts the gate is the
    expert's probability, with more they sum to one.
    """

    def __init__(self, recipe: Recipe, seeds: Sequence[int]) -> None:
        super().__init__()
        randoms = [generator(seed) for seed in seeds]
        width, n_experts, d_ff = (int(recipe[name]) for name in ("width", "n_experts", "d_ff"))
        self.top_k, self.d_ff = int(recipe["top_k"]), d_ff

        def draw(*shape: int, fan: int = 1) -> nn.Parameter:
            drawn = torch.stack([torch.randn(*shape, generator=random) for random in randoms])
            return nn.Parameter(drawn / math.sqrt(fan))

        self.rows, self.columns = draw(N_ROWS, width), draw(N_ROWS, width)
        self.router = draw(n_experts, width, fan=width) if n_experts > 1 else None
        self.w_up = draw(width, n_experts * d_ff, fan=width)
        self.w_down = draw(n_experts * d_ff, width, fan=d_ff)
        self.w_out = draw(N_VALUES, width, fan=width)

    def forward(self, facts: Int[Tensor, "S B"]) -> Float[Tensor, "S B V"]:
        """Give each model's logits for the facts with these numbers."""
        first = N_ROWS * torch.arange(len(facts))[:, None]  # of its rows, and of its columns
        row = embedding(first + facts // N_ROWS, self.rows.flatten(0, 1))
        x = row + embedding(first + facts % N_ROWS, self.columns.flatten(0, 1))
        return (x + self.ffn(x)) @ self.w_out.mT

    def ffn(self, x: Float[Tensor, "S B D"]) -> Float[Tensor, "S B D"]:
        """Mix the chosen experts. All compute, which is quicker for small ones; few have a gate."""
        hidden = torch.relu(x @ self.w_up)
        if self.router is None:
            return hidden @ self.w_down
        probs = (x @ self.router.mT).softmax(dim=-1)
        gates, expert_ids = probs.topk(self.top_k, dim=-1)
        if self.top_k > 1:
            gates = gates / gates.sum(dim=-1, keepdim=True)
        weights = torch.zeros_like(probs).scatter(-1, expert_ids, gates)
        return (hidden * weights.repeat_interleave(self.d_ff, dim=-1)) @ self.w_down


def flops_of_a_step(recipe: Recipe) -> int:
    """Count a step: 6 for each parameter at work on a fact, for each fact of the batch."""
    width, n_experts = int(recipe["width"]), int(recipe["n_experts"])
    router = width * n_experts if n_experts > 1 else 0
    active = 2 * width * int(recipe["d_ff"]) * int(recipe["top_k"]) + router + width * N_VALUES
    return 6 * active * int(recipe["batch"])


def steps_of(recipe: Recipe) -> int:
    """Return how many steps the budget pays for."""
    return BUDGET // flops_of_a_step(recipe)


def try_recipe(recipe: Recipe, seed: int = 0) -> float:
    """Train on a table of facts until the budget is spent; return the loss on all facts in nats."""
    return try_side_by_side(recipe, [seed])[0]


def try_side_by_side(recipe: Recipe, seeds: Sequence[int]) -> list[float]:
    """Train one model for each seed, and return their losses on all facts in nats.

    Adam, with a learning rate that falls in a straight line to zero.
    """
    randoms = [generator(1000 + seed) for seed in seeds]
    n_facts, n_steps, batch = N_ROWS**2, steps_of(recipe), (int(recipe["batch"]),)
    values = torch.stack([torch.randint(N_VALUES, (n_facts,), generator=one) for one in randoms])
    models = TinyModels(recipe, seeds)
    optimiser = torch.optim.Adam(models.parameters(), lr=float(recipe["lr"]), fused=True)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = float(recipe["lr"]) * (1 - step / n_steps)
        facts = torch.stack([torch.randint(n_facts, batch, generator=one) for one in randoms])
        loss = _losses(models(facts), values.gather(1, facts)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        facts = torch.arange(n_facts).expand(len(seeds), n_facts)
        return _losses(models(facts), values).tolist()


def _losses(logits: Float[Tensor, "S B V"], values: Int[Tensor, "S B"]) -> Float[Tensor, " S"]:
    """Return the mean loss of each model."""
    return cross_entropy(logits.mT, values, reduction="none").mean(dim=1)
