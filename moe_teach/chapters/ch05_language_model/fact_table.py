"""Exercise 5.8: a table of random facts, and a tiny model that learns it within a budget of FLOPs.

A fact is a row, a column and the value that stands there. The model adds an embedding of the row
and one of the column, sends the sum through one feed-forward, dense or of experts, with a residual
around it, and reads the value off. Nothing can be worked out: values are drawn at random.
"""

import math
from collections.abc import Mapping

import torch
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


class TinyModel(nn.Module):
    """Row and column in, logits of the value out; one expert means a dense net, without a router.

    With one of several experts the gate is the expert's probability, with more they sum to one.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        super().__init__()
        random = generator(seed)
        width, n_experts, d_ff = (int(recipe[name]) for name in ("width", "n_experts", "d_ff"))
        self.top_k, self.d_ff = int(recipe["top_k"]), d_ff

        def draw(*shape: int, fan: int = 1) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=random) / math.sqrt(fan))

        self.rows, self.columns = draw(N_ROWS, width), draw(N_ROWS, width)
        self.router = draw(n_experts, width, fan=width) if n_experts > 1 else None
        self.w_up = draw(width, n_experts * d_ff, fan=width)
        self.w_down = draw(n_experts * d_ff, width, fan=d_ff)
        self.w_out = draw(N_VALUES, width, fan=width)

    def forward(self, facts: Tensor) -> Tensor:
        """Give logits (B, N_VALUES) for the facts with these numbers (B,)."""
        x = embedding(facts // N_ROWS, self.rows) + embedding(facts % N_ROWS, self.columns)
        return (x + self.ffn(x)) @ self.w_out.T

    def ffn(self, x: Tensor) -> Tensor:
        """Mix the chosen experts. All compute, which is quicker for small ones; few have a gate."""
        hidden = torch.relu(x @ self.w_up)
        if self.router is None:
            return hidden @ self.w_down
        probs = (x @ self.router.T).softmax(dim=-1)
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
    """Train on a table of facts until the budget is spent; return the loss on all facts in nats.

    Adam, with a learning rate that falls in a straight line to zero.
    """
    random = generator(1000 + seed)
    n_facts, n_steps = N_ROWS**2, steps_of(recipe)
    values = torch.randint(N_VALUES, (n_facts,), generator=random)
    model = TinyModel(recipe, seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=float(recipe["lr"]))
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = float(recipe["lr"]) * (1 - step / n_steps)
        facts = torch.randint(n_facts, (int(recipe["batch"]),), generator=random)
        loss = cross_entropy(model(facts), values[facts])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return cross_entropy(model(torch.arange(n_facts)), values).item()
