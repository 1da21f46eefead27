"""Who has to go when another expert must come in: one interface for simulator and real store.

A policy hears of every use, and says of each expert how much it is worth keeping. The expert of
least worth goes first. It owns no expert and counts no bytes: that is `ExpertCache`.
"""

import math
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from moe_teach.config import refuse
from moe_teach.deploy.store.trace import Trace


class Key(NamedTuple):
    """One expert of a model: which MoE layer, counted from the bottom, and which of its experts."""

    layer: int
    expert: int


class Policy(ABC):
    """Remembers how experts were used, and judges them by it.

    `per_layer` divides the budget evenly between layers, so that an expert only ever makes room
    for another of its own layer. Otherwise all layers share one budget.
    """

    def __init__(self, *, per_layer: bool = False) -> None:
        self.per_layer = per_layer

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        """Take whatever has both methods for a policy: readers write theirs without this class."""
        if cls is not Policy:
            return NotImplemented
        return all(callable(getattr(other, name, None)) for name in ("use", "worth"))

    @abstractmethod
    def use(self, key: Key, step: int) -> None:
        """Hear that an expert is wanted in this step, whether or not it is in memory."""

    @abstractmethod
    def worth(self, key: Key) -> Any:
        """Say how much an expert is worth keeping: anything that compares, the least goes first."""

    def __str__(self) -> str:
        return f"{type(self).__name__}{' per layer' if self.per_layer else ''}"


class LRU(Policy):
    """Least recently used goes first (mixtral-offloading keeps one such cache in each layer)."""

    def __init__(self, *, per_layer: bool = False) -> None:
        super().__init__(per_layer=per_layer)
        self._clock = 0
        self._last: dict[Key, int] = {}

    def use(self, key: Key, step: int) -> None:
        self._clock += 1
        self._last[key] = self._clock

    def worth(self, key: Key) -> int:
        return self._last.get(key, 0)


class LFU(LRU):
    """Least frequently used goes first; of equals, the one not used for longest.

    What an expert once earned it keeps for ever, also when the text has changed.
    """

    def __init__(self, *, per_layer: bool = False) -> None:
        super().__init__(per_layer=per_layer)
        self._count: dict[Key, int] = defaultdict(int)

    def use(self, key: Key, step: int) -> None:
        super().use(key, step)
        self._count[key] += 1

    def worth(self, key: Key) -> tuple[int, int]:
        return self._count.get(key, 0), super().worth(key)


class LFRU(Policy):
    """Recency and frequency in one: a use counts half after every `half_life` steps.

    A short half-life is LRU, an endless one LFU. The score of an expert is the sum over its uses
    of 2^-(age / half_life) (Lee et al. 2001, IEEE Trans. Comput. 50(12), the LRFU family). All
    scores shrink alike, so that they are compared as logarithms at step 0 and nothing is rescaled.
    """

    def __init__(self, half_life: float | int = 64, *, per_layer: bool = False) -> None:
        refuse(half_life <= 0, f"half_life must be a positive number of steps, not {half_life}.")
        super().__init__(per_layer=per_layer)
        self.half_life = half_life
        self._score: dict[Key, float] = {}  # log2 of the sum of 2^(step / half_life) over uses

    def use(self, key: Key, step: int) -> None:
        now = step / self.half_life
        before = self._score.get(key, -math.inf)
        low, high = sorted((before, now))
        self._score[key] = high + math.log2(1.0 + 2.0 ** (low - high))

    def worth(self, key: Key) -> float:
        return self._score.get(key, -math.inf)

    def __str__(self) -> str:
        return f"{super().__str__()}, half-life {self.half_life:g}"


class Pinned(LRU):
    """Some experts stay once they are in, and the others take turns as in LRU.

    Who stays is profiled beforehand: `hottest` picks them from a trace. Pinned experts that do
    not all fit take turns among themselves.
    """

    def __init__(self, pinned: Iterable[Key], *, per_layer: bool = False) -> None:
        super().__init__(per_layer=per_layer)
        self.pinned = frozenset(pinned)

    def worth(self, key: Key) -> tuple[bool, int]:
        return key in self.pinned, super().worth(key)


class Optimum(Policy):
    """Whoever is wanted again last goes first: needs the future, so it only works on a trace.

    Belady's rule (1966, IBM Systems J. 5(2)), for requests of several at once. Where experts are of
    one size and there is room for all that a layer wants at once, no way was found to miss less, of
    all possible ones on thousands of small traces. With less room it can be a miss behind the best;
    where sizes differ it is a good guess: finding the best is then NP-hard.
    """

    def __init__(self, trace: Trace, *, per_layer: bool = False) -> None:
        super().__init__(per_layer=per_layer)
        self._future: dict[Key, deque[int]] = defaultdict(deque)
        for step, layer, expert_ids in trace.requests():
            for expert in expert_ids:
                self._future[Key(layer, expert)].append(step)

    def use(self, key: Key, step: int) -> None:
        future = self._future[key]
        while future and future[0] <= step:
            future.popleft()

    def worth(self, key: Key) -> tuple[float | int, int, float | int]:
        future = self._future.get(key) or (math.inf,)
        # Of two wanted in one step, the lower layer is wanted first. Of two wanted by one request,
        # whoever comes in for it last must stay: better the one who is wanted again after it.
        return -future[0], -key.layer, future[1] if len(future) > 1 else math.inf


def hottest(trace: Trace, n_experts: int) -> tuple[Key, ...]:
    """Return the `n_experts` most used of each layer, for `Pinned`.

    Args:
        trace: a profile: text like that which will come.
        n_experts: how many of every layer; leave the budget room for others.
    """
    refuse(
        not 0 <= n_experts <= trace.n_experts,
        f"A layer has {trace.n_experts} experts, of which {n_experts} cannot be pinned.",
    )
    ranked = trace.load().argsort(dim=-1, descending=True, stable=True)[:, :n_experts]
    return tuple(Key(layer, e) for layer, own in enumerate(ranked.tolist()) for e in own)
