"""Chapter 02: the race of the errors again, fifteen times as long and at seven learning rates.

World, model and errors are those that the lesson builds by hand. The learning rate is constant, so
one run of 6,000 steps holds the shorter ones. All seeds of an error train at once, as a stack of
R runs; places T are the last axis here, because long rows are quick to work through.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from moe_teach.train.experiment import Experiment
from moe_teach.train.horizons import Horizon, search

N_EXPERTS, N_PLACES, NOISE = 12, 400, 0.1
CENTRES = torch.tensor(
    [[0.55, 0.6], [-0.2, 0.65], [-0.7, 0.1], [-0.4, -0.6], [0.25, -0.1], [0.65, -0.55]]
)
LENGTHS = (400, 1200, 4000, 6000)
RATES = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
SEEDS = tuple(range(8))
SEARCH_SEEDS = (100, 101, 102, 103)

Error = Callable[[Tensor, Tensor, Tensor], Tensor]


class World(NamedTuple):
    """Places x (R, 3, T), noisy colours y (R, 3, T) and the true region (R, T) of each place."""

    x: Tensor
    y: Tensor
    region: Tensor


def draw_world(seed: int) -> tuple[World, World]:
    """Draw the places of one seed, without a leading axis: half to train on, half unseen."""
    random = torch.Generator().manual_seed(seed)
    xy = 2 * torch.rand(20 * N_PLACES, 2, generator=random) - 1
    distance, nearest = torch.cdist(xy, CENTRES).sort(dim=-1)
    clear = distance[:, 1] - distance[:, 0] > 0.1
    x = F.pad(xy[clear][: 2 * N_PLACES], (0, 1), value=1.0)
    region = nearest[clear][: 2 * N_PLACES, 0]
    maps = torch.randn(6, 3, 3, generator=random)
    y = torch.einsum("tod,td->to", maps[region], x)
    y = y + NOISE * torch.randn(y.shape, generator=random)
    halves = zip(*(part.split(N_PLACES) for part in (x, y, region)), strict=True)
    halves = ((x.T, y.T, region) for x, y, region in halves)
    train, new = (World(*half) for half in halves)
    return train, new


def draw_start(seed: int, n_experts: int = N_EXPERTS) -> tuple[Tensor, Tensor]:
    """Draw first experts (E, 3, 3) and a first router (E, 3)."""
    random = torch.Generator().manual_seed(1000 + seed)
    experts = torch.randn(n_experts, 3, 3, generator=random)
    return experts, 0.1 * torch.randn(n_experts, 3, generator=random)


def forward(experts: Tensor, router: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Give every expert's output (R, E, 3, T) and the logarithm of its gate (R, E, T)."""
    outputs = (experts.flatten(1, 2) @ x).unflatten(1, (-1, 3))
    return outputs, (router @ x).log_softmax(dim=1)


def cooperative(outputs: Tensor, log_gates: Tensor, y: Tensor) -> Tensor:
    """Compare the blend with the target: one error per run."""
    blended = (log_gates.exp().unsqueeze(2) * outputs).sum(dim=1)
    return (y - blended).square().sum(dim=1).mean(dim=-1)


def competitive(outputs: Tensor, log_gates: Tensor, y: Tensor) -> Tensor:
    """Weigh the experts' own errors by their gates."""
    own = (y.unsqueeze(1) - outputs).square().sum(dim=2)
    return (log_gates.exp() * own).sum(dim=1).mean(dim=-1)


def likelihood(outputs: Tensor, log_gates: Tensor, y: Tensor, variance: float = 0.02) -> Tensor:
    """Give the negative log-likelihood of the mixture, with twice the variance of the noise."""
    own = (y.unsqueeze(1) - outputs).square().sum(dim=2)
    return -torch.logsumexp(log_gates - own / (2 * variance), dim=1).mean(dim=-1)


def keep_top(log_gates: Tensor, k: int, renormalise: bool = True) -> Tensor:
    """Keep the k largest gates of each place, in logarithms; the others are -inf."""
    chosen = log_gates.topk(k, dim=1)
    kept = chosen.values.log_softmax(dim=1) if renormalise else chosen.values
    return torch.full_like(log_gates, -math.inf).scatter(1, chosen.indices, kept)


def sparse(k: int, renormalise: bool) -> Error:
    """Give the cooperative error of the top k experts."""

    def error(outputs: Tensor, log_gates: Tensor, y: Tensor) -> Tensor:
        return cooperative(outputs, keep_top(log_gates, k, renormalise), y)

    return error


ERRORS: dict[str, Error] = {
    "cooperative": cooperative,
    "competitive": competitive,
    "likelihood": likelihood,
    "k = 2, gates sum to 1": sparse(2, renormalise=True),
    "k = 1, raw gate": sparse(1, renormalise=False),
}


def matching_score(router: Tensor, train: World, new: World) -> tuple[Tensor, Tensor]:
    """Share of new places whose owner is named after their region, and owners of over 1 %."""
    hot = [F.one_hot(_owners(router, world.x), N_EXPERTS).float() for world in (train, new)]
    there = F.one_hot(train.region, len(CENTRES)).float()
    counts = torch.einsum("rte,rtg->reg", hot[0], there)
    named = counts.argmax(dim=-1).masked_fill(counts.sum(dim=-1) == 0, -1)
    found = named.gather(1, _owners(router, new.x)) == new.region
    return found.float().mean(dim=-1), (hot[1].mean(dim=1) >= 0.01).sum(dim=-1)


def _owners(router: Tensor, x: Tensor) -> Tensor:
    return (router @ x).argmax(dim=1)


def race(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Read one run of a stack at `LENGTHS`; `own` is the run's own error on new places."""
    seeds = SEEDS + SEARCH_SEEDS if seed in SEEDS + SEARCH_SEEDS else (seed,)
    marks = tuple(step for step in LENGTHS if step <= horizon.steps)
    return _stack(horizon.setting, horizon.lr, seeds, marks)[seeds.index(seed)]


@lru_cache(maxsize=1)
def _stack(
    name: str, lr: float, seeds: tuple[int, ...], marks: tuple[int, ...]
) -> list[dict[str, Any]]:
    train, new = (stacked(side) for side in zip(*map(draw_world, seeds), strict=True))
    starts = zip(*map(draw_start, seeds), strict=True)
    experts, router = (torch.stack(part).requires_grad_() for part in starts)
    optimiser = torch.optim.Adam([experts, router], lr=lr)
    read: list[dict[str, list[float | int]]] = []
    for step in range(max(marks) + 1):
        if step in marks:
            read.append(_reading(name, experts.detach(), router.detach(), train, new))
        optimiser.zero_grad()
        ERRORS[name](*forward(experts, router, train.x), train.y).sum().backward()
        optimiser.step()
    return [
        {"steps": list(marks)} | {key: [one[key][i] for one in read] for key in read[0]}
        for i in range(len(seeds))
    ]


def stacked(worlds: tuple[World, ...]) -> World:
    """Stack worlds, one for each run."""
    return World(*(torch.stack(field) for field in zip(*worlds, strict=True)))


def _reading(
    name: str, experts: Tensor, router: Tensor, train: World, new: World
) -> dict[str, list[float | int]]:
    outputs, log_gates = forward(experts, router, new.x)
    score, owners = matching_score(router, train, new)
    readings = {
        "own": ERRORS[name](outputs, log_gates, new.y),
        "blend": cooperative(outputs, log_gates, new.y),
        "alone": cooperative(outputs, keep_top(log_gates, 1), new.y),
        "score": score,
        "owners": owners,
    }
    return {key: [round(one, 4) for one in values.tolist()] for key, values in readings.items()}


EXPERIMENTS = (
    Experiment(
        "02_errors",
        "Which experts does each error make, after 400 and up to 6,000 steps, at its best rate?",
        search({name: name for name in ERRORS}, (max(LENGTHS),), RATES),
        race,
        SEEDS + SEARCH_SEEDS,
    ),
)
