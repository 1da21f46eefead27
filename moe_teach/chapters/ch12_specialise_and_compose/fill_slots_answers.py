"""Exercise 12.7: selections that leave gain behind or do not fit, and other ways to the best."""

from collections.abc import Callable
from functools import cache

from moe_teach.chapters.ch12_specialise_and_compose.fill_slots import EXERCISE


def _in_order(
    order: list[int], worth: list[float], sizes: list[int], slots: list[int], budget: int
) -> list[int]:
    chosen: list[int] = []
    for module in order:
        fits = sum(sizes[m] for m in chosen) + sizes[module] <= budget
        if fits and worth[module] > 0 and slots[module] not in {slots[m] for m in chosen}:
            chosen.append(module)
    return chosen


def _best_first(key: Callable[[float, int], float]) -> Callable[..., list[int]]:
    def answer(gains, sizes, slots, traffic, budget):
        worth = (gains @ traffic).tolist()
        order = sorted(range(len(sizes)), key=lambda m: -key(worth[m], sizes[m]))
        return _in_order(order, worth, sizes, slots, budget)

    return answer


by_worth = EXERCISE.wrong(stage="goal", says="the plain way reaches 96.19")(
    _best_first(lambda worth, size: worth)
)
by_worth_per_byte = EXERCISE.wrong(stage="goal", says="cannot take a choice back")(
    _best_first(lambda worth, size: worth / size)
)
the_smallest = EXERCISE.wrong(stage="goal", says="The goal is at least 99.8")(
    _best_first(lambda worth, size: -size)
)


@EXERCISE.wrong(stage="goal", says="Go through the slots one by one")
def with_exchanges(gains, sizes, slots, traffic, budget):
    worth = (gains @ traffic).tolist()
    order = sorted(range(len(sizes)), key=lambda m: -worth[m] / sizes[m])
    chosen = _in_order(order, worth, sizes, slots, budget)

    def is_allowed(modules: list[int]) -> bool:
        fits = sum(sizes[m] for m in modules) <= budget
        return fits and len({slots[m] for m in modules}) == len(modules)

    improved = True
    while improved:
        improved = False
        for new in range(len(sizes)):
            for old in chosen:
                other = [m for m in chosen if m != old] + [new]
                gain = worth[new] - worth[old]
                if new not in chosen and gain > 1e-9 and is_allowed(other):
                    chosen, improved = other, True
                    break
    return chosen


@EXERCISE.wrong(stage="a shelf that fits", says="Of each slot one module, or none")
def two_in_a_slot(gains, sizes, slots, traffic, budget):
    worth = (gains @ traffic).tolist()
    order = sorted(range(len(sizes)), key=lambda m: -worth[m])
    return _in_order(order, worth, sizes, list(range(len(sizes))), budget)


@EXERCISE.wrong(stage="a shelf that fits", says="not with it")
def over_the_budget(gains, sizes, slots, traffic, budget):
    chosen, used = [], 0
    for module in range(len(sizes)):
        if used <= budget and slots[module] not in [slots[m] for m in chosen]:
            chosen.append(module)
            used += sizes[module]
    return chosen


@EXERCISE.wrong(stage="a shelf that fits", says="a list of plain integers")
def a_mask(gains, sizes, slots, traffic, budget):
    return gains @ traffic > 0


@EXERCISE.wrong(stage="a shelf that fits", says="taken again")
def twice(gains, sizes, slots, traffic, budget):
    fitting = [m for m in range(len(sizes)) if 2 * sizes[m] <= budget]
    return fitting[:1] * 2


@EXERCISE.wrong(stage="all that gains, where there is room", says="weighted by the traffic")
def not_weighted(gains, sizes, slots, traffic, budget):
    worth = gains.max(dim=1).values.tolist()
    order = sorted(range(len(sizes)), key=lambda m: -worth[m])
    return _in_order(order, worth, sizes, slots, budget)


@EXERCISE.right
def from_the_last_slot(gains, sizes, slots, traffic, budget):
    worth = (gains @ traffic).tolist()
    places = sorted(set(slots))

    @cache
    def best(i: int, room: int) -> tuple[float, tuple[int, ...]]:
        if i == len(places):
            return 0.0, ()
        options = [best(i + 1, room)]
        for module, slot in enumerate(slots):
            if slot == places[i] and sizes[module] <= room:
                gain, rest = best(i + 1, room - sizes[module])
                options.append((gain + worth[module], (module, *rest)))
        return max(options)

    return list(best(0, budget)[1])


@EXERCISE.right
def with_a_bound(gains, sizes, slots, traffic, budget):
    worth = (gains @ traffic).tolist()
    places = sorted(set(slots))
    hope = [max(0.0, *(worth[m] for m in range(len(slots)) if slots[m] == p)) for p in places]
    ahead = [sum(hope[i:]) for i in range(len(places) + 1)]
    found: list = [0.0, []]

    def go(i: int, room: int, gain: float, chosen: list[int]) -> None:
        if gain > found[0]:
            found[:] = [gain, chosen]
        if i == len(places) or gain + ahead[i] <= found[0]:
            return
        here = [m for m in range(len(slots)) if slots[m] == places[i] and sizes[m] <= room]
        for module in sorted(here, key=lambda m: -worth[m]):
            go(i + 1, room - sizes[module], gain + worth[module], [*chosen, module])
        go(i + 1, room, gain, chosen)

    go(0, budget, 0.0, [])
    return found[1]
