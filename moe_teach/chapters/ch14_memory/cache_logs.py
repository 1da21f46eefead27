"""Exercise 14.5: logs of caches that are right, and of caches with one real mistake each."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

Expert = tuple[int, int]  # layer, number
Event = tuple[str, object]

FAULTS = ("counts early", "counts late", "evicts in use", "counts experts", "works half-loaded")
"""The mistakes that a cache can be given; "" is a cache without one."""

N_LAYERS, N_EXPERTS = 3, 5


@dataclass
class Cache:
    """A cache that writes down what it does; `fault` names its one mistake.

    It reads one expert ahead of every layer: the read begins, and may or may not be over when the
    layer asks. Some count as soon as they are asked, others when an expert has worked, and much has
    been read; and now and then a request is given up before anybody has worked.
    """

    sizes: dict[Expert, int]
    budget: int
    fault: str
    draw: random.Random
    counts_at_once: bool
    log: list[Event] = field(default_factory=list)
    ready: dict[Expert, bool] = field(default_factory=dict)  # in the order of last use
    guessed: set[Expert] = field(default_factory=set)
    given_up: set[Expert] = field(default_factory=set)  # in use until the next layer asks

    def note(self, *event: object) -> None:
        """Write an event down."""
        self.log.append(event)

    def is_full_for(self, expert: Expert) -> bool:
        """Say whether room has to be made for an expert."""
        if self.fault == "counts experts":
            mean = sum(self.sizes.values()) / len(self.sizes)
            return len(self.ready) + 1 > self.budget / mean
        return sum(self.sizes[e] for e in self.ready) + self.sizes[expert] > self.budget

    def begin(self, expert: Expert, waiting: set[Expert]) -> bool:
        """Make room and begin to read; False where only those who wait could make room."""
        blind = self.fault == "evicts in use"
        while self.is_full_for(expert):
            free = [e for e in self.ready if blind or e not in waiting]
            if not free:
                return False
            del self.ready[free[0]]
            self.note("evict", free[0])
        self.note("read", expert)
        self.ready[expert] = False
        return True

    def finish(self, expert: Expert) -> None:
        """Let a read end."""
        if not self.ready[expert]:
            self.note("ready", expert)
            self.ready[expert] = True

    def order(self, needed: list[Expert]) -> list[Expert]:
        """Let those work first that are there; who forgets them takes the missing first."""
        there = [expert for expert in needed if self.ready.get(expert, False)]
        missing = [expert for expert in needed if expert not in there]
        return missing + there if self.fault == "evicts in use" else there + missing

    def count(self, expert: Expert) -> str:
        """Say whether it is there, in the moment in which its layer asks."""
        there = self.ready.get(expert, False)
        if self.fault == "counts early":
            there = expert in self.ready
        elif self.fault == "counts late":
            there = there and expert not in self.guessed
        return "hit" if there else "miss"

    def serve(self, needed: list[Expert]) -> None:
        """Count, read and compute for one request."""
        self.note("ask", tuple(needed))
        waiting, self.given_up = set(needed), set()
        counts = {expert: self.count(expert) for expert in needed}
        if self.counts_at_once:
            for expert, count in counts.items():
                self.note(count, expert)
        if self.draw.random() < 0.1:
            self.given_up = waiting
            return
        for expert in self.order(needed):
            if expert not in self.ready:
                self.begin(expert, waiting - {expert})
            hurries = self.fault == "works half-loaded" and self.draw.random() < 0.3
            if not hurries:
                self.finish(expert)
            self.note("work", expert)
            self.finish(expert)
            if not self.counts_at_once:
                self.note(counts[expert], expert)
            self.ready[expert] = self.ready.pop(expert)  # used last
            waiting.discard(expert)


def requests(draw: random.Random, n_steps: int) -> Iterator[list[Expert]]:
    """Draw what one layer after another asks for, step by step."""
    liking = {layer: [draw.random() ** 2 + 0.05 for _ in range(N_EXPERTS)] for layer in range(3)}
    for _ in range(n_steps):
        for layer in range(N_LAYERS):
            pair = dict.fromkeys(draw.choices(range(N_EXPERTS), liking[layer], k=2))
            yield [(layer, expert) for expert in pair]


def log_of(fault: str, seed: int, n_steps: int = 12) -> tuple[list[Event], dict[Expert, int], int]:
    """Run a cache and return its log, the sizes of the experts, and its budget in bytes."""
    draw = random.Random(f"{fault} {seed}")
    experts = [(layer, number) for layer in range(N_LAYERS) for number in range(N_EXPERTS)]
    sizes = {expert: draw.choice((30, 40, 50, 90)) for expert in experts}
    cache = Cache(sizes, draw.choice((200, 260, 330)), fault, draw, draw.random() < 0.6)
    for needed in requests(draw, n_steps):
        guess = draw.choice(experts) if draw.random() < 0.4 else needed[0]
        if draw.random() < 0.6 and guess not in cache.ready:
            began = cache.begin(guess, waiting=cache.given_up)
            cache.guessed = {guess}
            if began and draw.random() < 0.4:
                cache.finish(guess)
        cache.serve(needed)
    return cache.log, sizes, cache.budget


def first_fault(
    log: list[Event], sizes: dict[Expert, int], budget_bytes: int, slip: str = ""
) -> tuple[int, str] | None:
    """Find the first event that breaks a rule; `slip` names a mistake in the finding."""
    memory: dict[Expert, bool] = {}
    there: set[Expert] = set()
    waiting: set[Expert] = set()
    for i, (verb, what) in enumerate(log):
        broken = ""
        if verb == "ask":
            waiting = set(what) | (waiting if slip == "asks" else set())
            there = {e for e in what if memory.get(e) or (slip == "reading" and e in memory)}
        elif verb in ("hit", "miss"):
            wrong = (verb == "hit") != (memory.get(what, False) if slip == "now" else what in there)
            broken = "count" if wrong and not (slip == "misses" and verb == "miss") else ""
        elif verb == "evict":
            broken = "in use" if what in waiting else ""
            memory.pop(what, None)
        elif verb == "read":
            memory[what] = False
            held = [e for e in memory if slip != "ready bytes" or memory[e]]
            full = sum(sizes[e] for e in held) > budget_bytes
            broken = (
                "room"
                if full or (slip == "mean" and _too_many(memory, sizes, budget_bytes))
                else ""
            )
        elif verb == "ready":
            memory[what] = True
        elif verb == "work":
            broken = (
                "" if memory.get(what) or (slip == "began" and what in memory) else "half-loaded"
            )
            if slip != "for ever":
                waiting.discard(what)
        if broken:
            return i, broken
    return None


def _too_many(memory: dict, sizes: dict[Expert, int], budget_bytes: int) -> bool:
    return len(memory) > budget_bytes / (sum(sizes.values()) / len(sizes))
