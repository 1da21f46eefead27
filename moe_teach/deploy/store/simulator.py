"""A trace through a cache: what would have been in memory, what would have been read.

Nothing is computed and nothing is read. Counts of hits, misses and bytes are those of
`ExpertStore` under the same policy, budget and trace.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.deploy.store.cache import Entry, ExpertCache
from moe_teach.deploy.store.foresight import Forecast
from moe_teach.deploy.store.policies import Key, Policy
from moe_teach.deploy.store.trace import Trace


@dataclass(frozen=True, eq=False)
class Replay:
    """What happened in each of S steps and L layers, in experts and in bytes.

    `hits` were in memory when their layer asked, `foreseen` of them because they had been guessed;
    `misses` had to be waited for. `guessed` were read because of a guess about this layer, right
    or wrong.
    """

    hits: Int[Tensor, "S L"]
    foreseen: Int[Tensor, "S L"]
    misses: Int[Tensor, "S L"]
    guessed: Int[Tensor, "S L"]
    waited_bytes: Int[Tensor, "S L"]
    guessed_bytes: Int[Tensor, "S L"]
    resident_bytes: Int[Tensor, "S L"]

    @property
    def moved_bytes(self) -> int:
        """Bytes read in all."""
        return int(self.waited_bytes.sum() + self.guessed_bytes.sum())

    @property
    def n_requests(self) -> int:
        """Experts asked for, each once a step and layer."""
        return int(self.hits.sum() + self.misses.sum())

    @property
    def hit_rate(self) -> float:
        """Share of the requests that found their expert in memory."""
        return int(self.hits.sum()) / self.n_requests

    @property
    def hit_rate_of_layer(self) -> Float[Tensor, " L"]:
        """The same for each layer."""
        return self.hits.sum(0) / (self.hits + self.misses).sum(0)

    def least_seconds(self, bandwidth_bytes_per_s: float) -> float:
        """Time that reading takes if nothing else does: a bound that no overlap can beat."""
        _demand_bandwidth(bandwidth_bytes_per_s)
        return self.moved_bytes / bandwidth_bytes_per_s

    def waiting_seconds(self, bandwidth_bytes_per_s: float) -> float:
        """Time to read what nobody guessed: the least that layers wait."""
        _demand_bandwidth(bandwidth_bytes_per_s)
        return int(self.waited_bytes.sum()) / bandwidth_bytes_per_s


def _demand_bandwidth(bandwidth_bytes_per_s: float) -> None:
    refuse(
        bandwidth_bytes_per_s <= 0,
        f"A bandwidth is a positive number of bytes a second, not {bandwidth_bytes_per_s}.",
    )


def simulate(
    trace: Trace,
    policy: Policy,
    budget_bytes: int,
    expert_bytes: int | Mapping[Key, int],
    *,
    forecast: Forecast | None = None,
) -> Replay:
    """Send a trace through a cache that is empty at first.

    Args:
        trace: whom the tokens wanted.
        policy: a fresh one; it learns from this trace.
        budget_bytes: what the experts in memory may take together.
        expert_bytes: the size of every expert, or of each.
        forecast: guesses about this trace. While a layer computes, what is guessed about the one
            `forecast.distance` above is read. How long that takes is not asked here: every guess
            is read in time.

    Raises:
        ValueError: the budget is too small for one expert, or the forecast is about another trace.
    """
    sizes = sizes_of(trace, expert_bytes)
    cache = ExpertCache(policy, budget_bytes, sizes)
    guesses = {} if forecast is None else forecast.guesses(trace)
    distance = 0 if forecast is None else forecast.distance
    asked, guessed = [], []
    for step, layer, experts in trace.requests():
        answer = cache.ask(layer, experts, step)
        serving = [Key(layer, expert) for expert in experts]
        ahead = layer + distance
        early = cache.foresee(ahead, guesses.get((step, ahead), ()), serving)
        found = len(answer.here), len(answer.foreseen), len(answer.entries)
        asked.append((*found, _bytes(answer.entries, sizes), cache.resident_bytes))
        guessed.append((len(early), _bytes(early, sizes)))
    shape = trace.n_steps, trace.n_layers, -1
    hits, foreseen, misses, waited, resident = torch.tensor(asked).view(shape).unbind(-1)
    # Written down where they were made; they are about the layer above.
    n_guessed, guessed_bytes = torch.tensor(guessed).view(shape).roll(distance, 1).unbind(-1)
    return Replay(hits, foreseen, misses, n_guessed, waited, guessed_bytes, resident)


def _bytes(entries: Iterable[Entry], sizes: Mapping[Key, int]) -> int:
    return sum(sizes[entry.key] for entry in entries)


def sizes_of(trace: Trace, expert_bytes: int | Mapping[Key, int]) -> Mapping[Key, int]:
    """Give every expert of a traced model its size in bytes."""
    if not isinstance(expert_bytes, int):
        return expert_bytes
    refuse(expert_bytes < 1, f"An expert takes at least one byte, not {expert_bytes}.")
    layers, experts = range(trace.n_layers), range(trace.n_experts)
    return {Key(layer, expert): expert_bytes for layer in layers for expert in experts}
