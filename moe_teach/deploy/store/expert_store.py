"""Experts on a disk, and some of them in memory: within a budget of bytes that the user states.

The books are kept by `ExpertCache`, in the thread that asks; so they do not depend on how fast the
disk is, and a simulation of the same requests counts the same. Reading is done by threads of its
own: all that a layer lacks is asked of the disk at once, and while it comes, the experts that are
there compute. An expert that leaves hands its buffer to the one who comes: no memory is taken anew.
"""

import mmap
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from moe_teach.config import refuse
from moe_teach.deploy.store.cache import Entry, ExpertCache
from moe_teach.deploy.store.expert_places import StoredExpert
from moe_teach.deploy.store.policies import Key, Policy
from moe_teach.types import ExpertWeights

N_READERS = 2


@dataclass
class Counts:
    """What a store has done since it was opened."""

    hits: int = 0
    foreseen: int = 0
    misses: int = 0
    guessed: int = 0
    waited_bytes: int = 0
    guessed_bytes: int = 0

    @property
    def moved_bytes(self) -> int:
        """Bytes read in all."""
        return self.waited_bytes + self.guessed_bytes


class _Loaded:
    """The buffers of one expert, and the promise that they are filled."""

    def __init__(self, buffers: list[mmap.mmap], weights: Future) -> None:
        self.buffers, self.weights = buffers, weights


class ExpertStore:
    """Hands out experts, and reads those that are not in memory.

    Args:
        experts: where each lies.
        budget_bytes: what the experts in memory may take together.
        policy: who leaves when another must come; a fresh one, and none that needs the future.
        n_readers: threads that read.

    Raises:
        ValueError: the budget is below one expert, or there are no experts.
    """

    def __init__(
        self,
        experts: Mapping[Key, StoredExpert],
        budget_bytes: int,
        policy: Policy,
        n_readers: int = N_READERS,
    ) -> None:
        refuse(not experts, "There are no experts to be kept on a disk.")
        self.experts = experts
        self.sizes = {key: expert.n_bytes for key, expert in experts.items()}
        self.cache = ExpertCache(policy, budget_bytes, self.sizes)
        self.counts = Counts()
        self._loaded: dict[Key, _Loaded] = {}
        self._guesses: dict[int, tuple[int, list[int]]] = {}  # by the layer that may read them
        self._step, self._last_layer = -1, 1 << 30
        self._turn, self._is_closed = threading.Lock(), False
        self._readers = ThreadPoolExecutor(n_readers, "expert-reader")

    def serve(self, layer: int, experts: Iterable[int]) -> Iterator[tuple[int, ExpertWeights]]:
        """Give the experts that a layer wants, those in memory first, with an axis of one expert.

        An expert's weights may be used until the next one is asked for. Whoever asks meanwhile
        from another thread waits until all are given.

        Raises:
            UnreadableExperts: the disk fails, or a file is no longer what it was. Experts that
                are whole stay, and the model may be asked again.
        """
        with self._turn:
            refuse(
                self._is_closed,
                "The experts' store is closed, and the model without it has no experts: open the "
                "model again.",
            )
            yield from self._serve(layer, list(experts))

    def foresee(self, layer: int, experts: Iterable[int], distance: int) -> None:
        """Announce whom a layer will probably want.

        They are read after whatever the layer `distance` below wants for itself.
        """
        self._guesses[layer - distance] = layer, list(experts)

    def __deepcopy__(self, _: object) -> "ExpertStore":
        """Be shared by a model and its twin: there is one disk, and one budget for both."""
        return self

    def close(self) -> None:
        """Let the reading end and give all memory back; nobody is served from here on."""
        self._is_closed = True
        self._readers.shutdown(cancel_futures=True)
        for key in list(self._loaded):
            self.cache.forget(key)
            self._drop(key)

    def _serve(self, layer: int, experts: list[int]) -> Iterator[tuple[int, ExpertWeights]]:
        if layer <= self._last_layer:
            self._step += 1
        self._last_layer = layer
        self._forget_failed(Key(layer, expert) for expert in experts)
        answer = self.cache.ask(layer, experts, self._step)
        self._count(len(answer.here), len(answer.foreseen), answer.entries)
        waiting, entries = list(answer.here), list(answer.entries)
        try:
            while entries:
                if set(entries[0].left).intersection(waiting):
                    yield from self._given(waiting)
                entry = entries.pop(0)
                self._fetch(entry)
                waiting.append(entry.key)
            self._read_guesses(layer, experts)
            yield from self._given(waiting)
        finally:
            for entry in entries:  # who is on the books and was never read, after an error
                self._forget(entry)

    def _given(self, waiting: list[Key]) -> Iterator[tuple[int, ExpertWeights]]:
        while waiting:
            key = waiting.pop(0)
            yield key.expert, self._weights(key)

    def _weights(self, key: Key) -> ExpertWeights:
        try:
            return self._loaded[key].weights.result()
        except BaseException:
            self.cache.forget(key)
            self._drop(key)
            raise

    def _read_guesses(self, layer: int, experts: list[int]) -> None:
        ahead, guesses = self._guesses.pop(layer, (layer, []))
        serving = [Key(layer, expert) for expert in experts]
        for entry in self.cache.foresee(ahead, guesses, serving):
            self.counts.guessed += 1
            self.counts.guessed_bytes += self.sizes[entry.key]
            self._fetch(entry)

    def _fetch(self, entry: Entry) -> None:
        """Begin to read an expert, into the buffers of who left for it where they fit."""
        spare = [buffer for victim in entry.left for buffer in self._drop(victim)]
        expert = self.experts[entry.key]
        buffers = expert.buffers(spare)
        promise = self._readers.submit(expert.read, buffers)
        self._loaded[entry.key] = _Loaded(buffers, promise)

    def _forget(self, entry: Entry) -> None:
        self.cache.forget(entry.key)
        for victim in entry.left:
            self._drop(victim)

    def _forget_failed(self, keys: Iterable[Key]) -> None:
        """Give those another chance whose reading failed when nobody was waiting for it."""
        for key in keys:
            promise = self._loaded[key].weights if key in self._loaded else None
            if promise is not None and promise.done() and promise.exception() is not None:
                self.cache.forget(key)
                self._drop(key)

    def _drop(self, key: Key) -> list[mmap.mmap]:
        """Let go of an expert; its buffers are free once nobody reads into them any more."""
        loaded = self._loaded.pop(key, None)
        if loaded is None:
            return []
        if not loaded.weights.cancel():
            loaded.weights.exception()  # waits; an error of one who is not wanted is nobody's
        return loaded.buffers

    def _count(self, n_hits: int, n_foreseen: int, entries: Iterable[Entry]) -> None:
        counts, missing = self.counts, [entry.key for entry in entries]
        counts.hits += n_hits
        counts.foreseen += n_foreseen
        counts.misses += len(missing)
        counts.waited_bytes += sum(self.sizes[key] for key in missing)
