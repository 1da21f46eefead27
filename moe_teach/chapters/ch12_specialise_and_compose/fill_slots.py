"""Chapter 12, exercise 12.7: an open task, which modules to install within a budget."""

from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, Goal, generator, require

EXERCISE = Exercise(
    id="12.7",
    name="fill_slots",
    title="Open task: a shelf on a budget",
    points=3,
    difficulty=4,
    importance=3,
    minutes=25,
    limit=30,
    goal=Goal(
        quantity="gain, of the best possible gain",
        unit="%",
        baseline=96.19,
        target=99.8,
        more_is_better=True,
        limit="100 % is the best selection there is.",
        cause="One module after the other, in whatever order, cannot take a choice back: one that "
        "came early keeps others out that gain more together.",
        cure="Go through the slots one by one and keep, for every budget, the best that can be had "
        "with the slots so far.",
    ),
    hints=(
        "What a module is worth is the gain of each kind of text times its share of the traffic. "
        "Worth per byte is a better order than worth, and still an order.",
        "Two modules of one slot exclude each other, so decide slot by slot: one of its modules, "
        "or none. What matters of all decisions so far is how many bytes they took.",
        "best = {0: (0.0, [])} from bytes used to (worth, modules); for each slot, extend every "
        "entry by each of its modules that still fits, and keep the better one where two entries "
        "use the same bytes. The answer is the best entry of all.",
    ),
    explanation="This is the multiple-choice knapsack problem, and the table over bytes solves it "
    "exactly (dynamic programming). Taking by worth reaches 96.2 % of the best, by worth per byte "
    "96.7 %, and exchanging single modules as long as that helps 98.2 %. A real shelf is harder: "
    "here gains add up, and the lesson measured each module beside the untouched model. Two "
    "modules together were measured nowhere.",
)


class Shelf(NamedTuple):
    """Modules on offer: what each gains, how large it is, where it goes; the traffic; the room."""

    gains: Tensor  # (M, D) nats saved by each module on each kind of text
    sizes: list[int]
    slots: list[int]
    traffic: Tensor  # (D,) shares that sum to 1
    budget: int


def shelf_of(n_modules: int, n_slots: int, n_kinds: int, seed: int) -> Shelf:
    """Draw a shelf: each module gains on one kind of text and costs a little on the others."""
    source = generator(seed)
    gains = -0.03 * torch.rand(n_modules, n_kinds, generator=source)
    kind = torch.randint(n_kinds, (n_modules,), generator=source)
    sizes = torch.randint(10, 80, (n_modules,), generator=source)
    # About as much for each byte, so that no order by bytes finds the best.
    own = (0.8 + 0.4 * torch.rand(n_modules, generator=source)) * sizes / 80
    gains[torch.arange(n_modules), kind] = own
    traffic = torch.rand(n_kinds, generator=source) + 0.2
    slots = torch.randint(n_slots, (n_modules,), generator=source)
    budget = int(sizes.sum()) * 15 // 100
    return Shelf(gains, sizes.tolist(), slots.tolist(), traffic / traffic.sum(), budget)


def worth_of(shelf: Shelf) -> list[float]:
    """Return what each module gains on the traffic."""
    return (shelf.gains.double() @ shelf.traffic.double()).tolist()


def best_worth(shelf: Shelf) -> float:
    """Return the best possible gain, slot by slot over all numbers of bytes."""
    worth, best = worth_of(shelf), {0: 0.0}
    for slot in sorted(set(shelf.slots)):
        new = dict(best)
        for module, own in enumerate(shelf.slots):
            if own != slot:
                continue
            for used, gain in best.items():
                room = used + shelf.sizes[module]
                if room <= shelf.budget:
                    new[room] = max(new.get(room, -1.0), gain + worth[module])
        best = new
    return max(best.values())


def _called(answer: Any, shelf: Shelf) -> list[int]:
    got, example = answer(*deepcopy(shelf)), shelf._asdict()
    told = {"got": got, "example": example}
    require(
        isinstance(got, list) and all(type(module) is int for module in got),
        "The answer must be a list of plain integers, the numbers of the modules to install.",
        cause="A tensor came back, or True and False for each module.",
        cure="`[module for module in range(len(sizes)) if ...]`, or `.tolist()`.",
        **told,
    )
    n_modules = len(shelf.sizes)
    require(
        len(set(got)) == len(got) and all(0 <= module < n_modules for module in got),
        f"The numbers must be of the {n_modules} modules, each at most once.",
        cause="A module was taken again in a second round.",
        cure="Leave out whom you have already.",
        **told,
    )
    taken = [shelf.slots[module] for module in got]
    require(
        len(set(taken)) == len(taken),
        "Two modules would stand in one slot.",
        cause="A slot holds one expert, so the second would push the first out.",
        cure="Of each slot one module, or none.",
        **told,
    )
    size = sum(shelf.sizes[module] for module in got)
    require(
        size <= shelf.budget,
        f"These modules take {size} bytes, and {shelf.budget} are there.",
        cause="The budget was checked before the module was added, and not with it.",
        cure="Take a module only if the bytes used and its own are within the budget.",
        **told,
    )
    return got


@EXERCISE.stage("a shelf that fits")
def _shelf_fits(answer: Any, seed: int) -> None:
    for i, sizes in enumerate(((1, 1, 1), (7, 2, 3), (12, 5, 2), (9, 9, 4))):
        _called(answer, shelf_of(*sizes, 10 * seed + i))
    crowded = shelf_of(11, 3, 2, 10 * seed + 5)
    _called(answer, crowded._replace(budget=0))
    _called(answer, crowded._replace(budget=sum(crowded.sizes)))


@EXERCISE.stage("all that gains, where there is room")
def _shelf_room(answer: Any, seed: int) -> None:
    shelf = shelf_of(9, 9, 3, 10 * seed + 6)
    harm = (shelf.gains < 0).float()
    harm[1::2] = 0  # every other module costs much where it does not gain
    roomy = shelf._replace(
        gains=shelf.gains - 0.6 * harm, slots=list(range(9)), budget=sum(shelf.sizes)
    )
    worth = worth_of(roomy)
    worth_it = [module for module, gain in enumerate(worth) if gain > 0]
    got = sorted(_called(answer, roomy))
    require(
        got == worth_it,
        "With room for all, and a slot for each, exactly those that gain on the traffic belong in.",
        cause="A module that costs more on the other texts than it gains on its own was installed, "
        "or gains were not weighted by the traffic.",
        cure="worth = gains @ traffic, and nothing whose worth is not above 0.",
        expected=worth_it,
        got=got,
        example=roomy._asdict(),
    )


@EXERCISE.goal.measure
def _shelf_gain(answer: Any, seed: int) -> float:
    shares = []
    for i in range(8):
        shelf = shelf_of(30, 9, 4, 100 * (seed % 3) + i)
        worth = worth_of(shelf)
        got = sum(worth[module] for module in _called(answer, shelf))
        shares.append(got / best_worth(shelf))
    return 100 * sum(shares) / len(shares)
