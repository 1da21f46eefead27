"""Which experts are in memory, within a budget of bytes. What lies there is the owner's affair.

When a layer wants a set of experts, those in memory serve first: nobody is thrown out just before
their turn. The missing are then admitted one by one, the least worth keeping first, and may leave
again as soon as they have served. So a budget of one expert is enough.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from moe_teach.config import refuse
from moe_teach.deploy.store.policies import Key, Policy


@dataclass(frozen=True)
class Entry:
    """An expert that is given a place, and who had to leave for it."""

    key: Key
    left: tuple[Key, ...]


@dataclass(frozen=True)
class Answer:
    """What a layer finds when it asks: who is here (`foreseen` thanks to a guess), who enters."""

    here: tuple[Key, ...]
    foreseen: tuple[Key, ...]
    entries: tuple[Entry, ...]


class ExpertCache:
    """Keeps the books on the experts in memory, and lets the policy say who goes.

    Args:
        policy: judges the experts; a fresh one, which from here on belongs to this cache.
        budget_bytes: what all experts in memory may take together. It is never exceeded.
        sizes: bytes of every expert that may be asked for.

    Raises:
        ValueError: the budget, or a layer's share of it, is smaller than the largest expert.
    """

    def __init__(self, policy: Policy, budget_bytes: int, sizes: Mapping[Key, int]) -> None:
        self.policy = policy
        self._sizes = sizes
        pools = {self._pool(key) for key in sizes}
        self._share = budget_bytes // len(pools)
        self._residents: dict[int, set[Key]] = {pool: set() for pool in pools}
        self._free = dict.fromkeys(pools, self._share)
        self._guesses: dict[int, dict[Key, bool]] = {}  # of layers yet to ask; who came by it
        self._demand_room_for_one(budget_bytes, len(pools))

    def _demand_room_for_one(self, budget_bytes: int, n_pools: int) -> None:
        largest = max(self._sizes.values())
        each = f" ({self._share:,} for each of {n_pools} layers)" if n_pools > 1 else ""
        refuse(
            self._share < largest,
            f"The budget is {budget_bytes:,} bytes{each}, but an expert takes {largest:,}: "
            f"give at least {largest * n_pools:,}.",
        )

    def __contains__(self, key: Key) -> bool:
        return key in self._residents[self._pool(key)]

    @property
    def residents(self) -> frozenset[Key]:
        """The experts in memory."""
        return frozenset().union(*self._residents.values())

    @property
    def resident_bytes(self) -> int:
        """Bytes of the experts in memory."""
        return sum(self._share - free for free in self._free.values())

    def ask(self, layer: int, experts: Iterable[int], step: int) -> Answer:
        """Hear whom a layer wants in this step; all of them will have been in memory for it.

        Args:
            layer: who asks.
            experts: whom it wants, each once.
            step: the number of the step, which does not decrease.
        """
        keys = [Key(layer, expert) for expert in sorted(experts)]
        for key in keys:
            self.policy.use(key, step)
        here = tuple(key for key in keys if key in self)
        guessed = self._guesses.pop(layer, {})
        missing = sorted(set(keys).difference(here), key=self._rank)
        return Answer(
            here,
            tuple(key for key in here if guessed.get(key, False)),
            tuple(self._enter(key) for key in missing),
        )

    def foresee(self, layer: int, experts: Iterable[int], keep: Collection[Key]) -> list[Entry]:
        """Admit experts that a later layer will probably want, and keep them until it asks.

        A guess makes nobody leave who is in `keep` or was guessed for a layer still to ask; it is
        dropped where only they could make room.

        Returns:
            Those who enter, in the order of `experts`.
        """
        entries = []
        guesses = self._guesses.setdefault(layer, {})
        for expert in experts:
            key = Key(layer, expert)
            if key in self:
                guesses.setdefault(key, False)
            elif (left := self._leaving(key, {*keep, *self._awaited()})) is not None:
                entries.append(self._moved(key, left))
                guesses[key] = True
        return entries

    def _enter(self, key: Key) -> Entry:
        """Admit an expert that is wanted now: guesses give way to it if nobody else can."""
        left = self._leaving(key, self._awaited())
        return self._moved(key, self._leaving(key, ()) if left is None else left)

    def _awaited(self) -> set[Key]:
        """Those guessed for layers that have not asked since."""
        return {key for guesses in self._guesses.values() for key in guesses}

    def _leaving(self, key: Key, keep: Collection[Key]) -> tuple[Key, ...] | None:
        """Say who must leave to give an expert room; None where only those to keep could."""
        pool = self._pool(key)
        free, left = self._free[pool], []
        if free >= self._sizes[key]:
            return ()
        for victim in sorted(self._residents[pool].difference(keep), key=self._rank):
            left.append(victim)
            free += self._sizes[victim]
            if free >= self._sizes[key]:
                return tuple(left)
        return None

    def _moved(self, key: Key, left: tuple[Key, ...]) -> Entry:
        pool = self._pool(key)
        self._residents[pool].difference_update(left)
        self._residents[pool].add(key)
        self._free[pool] += sum(self._sizes[victim] for victim in left) - self._sizes[key]
        return Entry(key, left)

    def forget(self, key: Key) -> None:
        """Take an expert off the books that could not be brought in after all."""
        pool = self._pool(key)
        if key in self._residents[pool]:
            self._residents[pool].remove(key)
            self._free[pool] += self._sizes[key]

    def _pool(self, key: Key) -> int:
        return key.layer if self.policy.per_layer else 0

    def _rank(self, key: Key) -> tuple:
        return self.policy.worth(key), key  # of equals, always the same one goes
