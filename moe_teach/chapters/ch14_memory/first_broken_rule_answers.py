"""Exercise 14.5: audits that overlook something, and others that are right."""

from dataclasses import dataclass, field

from moe_teach.chapters.ch14_memory.cache_logs import first_fault
from moe_teach.chapters.ch14_memory.first_broken_rule import EXERCISE


def _found(log, sizes, budget_bytes, slip=""):
    return first_fault(log, sizes, budget_bytes, slip) or "healthy"


@EXERCISE.wrong(stage="a cache that is right", says="whose read had only begun")
def takes_a_read_for_there(log, sizes, budget_bytes):
    return _found(log, sizes, budget_bytes, "reading")


@EXERCISE.wrong(stage="a cache that is right", says="Experts were counted")
def counts_experts(log, sizes, budget_bytes):
    return _found(log, sizes, budget_bytes, "mean")


@EXERCISE.wrong(stage="a cache that is right", says="also while others of its request")
def keeps_everybody_until_the_end(log, sizes, budget_bytes):
    return _found(log, sizes, budget_bytes, "for ever")


@EXERCISE.wrong(stage="a cache that is right", says="when its layer asked")
def looks_when_it_is_counted(log, sizes, budget_bytes):
    return _found(log, sizes, budget_bytes, "now")


@EXERCISE.wrong(stage="a cache that is right", says="over when the next one comes")
def keeps_who_was_given_up(log, sizes, budget_bytes):
    return _found(log, sizes, budget_bytes, "asks")


@EXERCISE.wrong(stage="a cache that is right", says="The answer is")
def says_nothing_at_all_when_healthy(log, sizes, budget_bytes):
    found = _found(log, sizes, budget_bytes)
    return "" if found == "healthy" else found


@EXERCISE.wrong(stage="room", says="needs its place from the beginning")
def adds_up_what_is_ready(log, sizes, budget_bytes):
    return _found(log, sizes, budget_bytes, "ready bytes")


@EXERCISE.wrong(stage="half-loaded", says="a part was still missing")
def is_content_with_a_beginning(log, sizes, budget_bytes):
    return _found(log, sizes, budget_bytes, "began")


@EXERCISE.wrong(stage="room", says="A later event was named than the first")
def names_the_last_one(log, sizes, budget_bytes):
    found = _found(log, sizes, budget_bytes)
    later = [i for i, (verb, _) in enumerate(log) if found != "healthy" and i > found[0]]
    return (later[-1], found[1]) if later else found


@EXERCISE.wrong(stage="count", says="Only hits were checked")
def checks_hits_only(log, sizes, budget_bytes):
    return _found(log, sizes, budget_bytes, "misses")


@EXERCISE.right
def with_three_sets(log, sizes, budget_bytes):
    reading, ready, waiting, there = set(), set(), set(), set()
    for i, (verb, what) in enumerate(log):
        if verb == "ask":
            waiting, there = set(what), ready & set(what)
        elif verb in ("hit", "miss") and (verb == "hit") != (what in there):
            return i, "count"
        elif verb == "evict":
            if what in waiting:
                return i, "in use"
            reading, ready = reading - {what}, ready - {what}
        elif verb == "read":
            reading, ready = reading | {what}, ready - {what}
            if sum(map(sizes.get, reading | ready)) > budget_bytes:
                return i, "room"
        elif verb == "ready":
            reading, ready = reading - {what}, ready | {what}
        elif verb == "work":
            if what not in ready:
                return i, "half-loaded"
            waiting = waiting - {what}
    return "healthy"


@dataclass
class _Book:
    sizes: dict
    left: int
    ready: dict = field(default_factory=dict)
    there: tuple = ()
    waiting: list = field(default_factory=list)

    def ask(self, what):
        self.there = tuple(e for e in what if self.ready.get(e))
        self.waiting = list(what)

    def hit(self, what):
        return "" if what in self.there else "count"

    def miss(self, what):
        return "count" if what in self.there else ""

    def evict(self, what):
        self.left += self.sizes[what]
        del self.ready[what]
        return "in use" if what in self.waiting else ""

    def read(self, what):
        self.left -= self.sizes[what]
        self.ready[what] = False
        return "room" if self.left < 0 else ""

    def ready_(self, what):
        self.ready[what] = True

    def work(self, what):
        if what in self.waiting:
            self.waiting.remove(what)
        return "" if self.ready.get(what) else "half-loaded"


@EXERCISE.right
def with_a_method_for_each_verb(log, sizes, budget_bytes):
    book = _Book(sizes, budget_bytes)
    for i, (verb, what) in enumerate(log):
        broken = getattr(book, {"ready": "ready_"}.get(verb, verb))(what)
        if broken:
            return i, broken
    return "healthy"
