"""Chapter 12, exercise 12.6: the reader's swap becomes a marketplace that forgets nothing."""

from collections.abc import Mapping
from typing import Any

import torch

from moe_teach.chapters.ch12_specialise_and_compose.swap_expert import (
    State,
    expert_module,
    model_state,
)
from moe_teach.judging.exercise import Exercise, Words, require

EXERCISE = Exercise(
    id="12.6",
    name="MyMarketplace",
    title="Assembly: your marketplace",
    points=3,
    difficulty=4,
    importance=4,
    minutes=25,
    needs=("12.4",),
    changes_inputs=True,  # a marketplace has a memory
    hints=(
        "For each module that is in, remember where it stands and what it replaced. A dictionary "
        "keeps the order in which its keys came.",
        "Who stands on whom? A module may go only if nobody who came later stands in the same "
        "layer and place. Check everything before you change anything.",
        "install: refuse a known name; self.state, old = self.swap(self.state, layer, expert, "
        "module); self.shelf[name] = (layer, expert, old). remove: later = names after this one "
        "with the same (layer, expert); refuse if any; self.state, _ = self.swap(self.state, "
        "layer, expert, old); del self.shelf[name].",
    ),
    explanation="Slots are independent, so modules in different slots go in any order. In one slot "
    "they are a pile: below the top one, what a module replaced is not what stands there now, and "
    "writing it back would throw out a later module without a word and then leave its way back "
    "leading to the wrong expert. Everything is checked before anything is written, so that a "
    "refusal leaves the marketplace as it was. The library's `moe-teach expert install` does the "
    "same with files, and survives a power cut as well.",
)


def plain_swap(
    state: Mapping[str, Any], layer: int, expert: int, module: Mapping[str, Any]
) -> tuple[State, State]:
    """Swap an expert as exercise 12.4 asks for it."""
    head = f"blocks.{layer}.ffn."
    old = {part: state[head + part][expert].clone() for part in module if head + part in state}
    if len(old) < len(module):
        raise ValueError("This module does not fit.")
    new = {name: tensor.clone() for name, tensor in state.items()}
    for part, row in module.items():
        new[head + part][expert] = row
    return new, old


def _opened(answer: Any, seed: int, swap: Any = plain_swap) -> tuple[Any, State]:
    state = model_state(seed, 5)
    market = answer(state, swap=swap)
    missing = [n for n in ("install", "remove", "installed", "state") if not hasattr(market, n)]
    require(not missing, f"The marketplace has no `{', '.join(missing)}`.")
    return market, state


def _demand_state(market: Any, expected: State, when: str, **why: str) -> None:
    got = market.state
    wrong = [n for n, t in expected.items() if n not in got or not torch.equal(got[n], t)]
    require(not wrong, f"{when}, {(wrong or [''])[0]} is not what it should be.", **why)


def _demand_names(market: Any, expected: list[str], when: str) -> None:
    got = list(market.installed())
    in_order = sorted(got) == sorted(expected)
    require(
        got == expected,
        f"{when}, `installed()` should name what is in, in the order in which it came.",
        cause="These are the right names in another order."
        if in_order
        else "Something removed or refused is still listed, or something installed is not.",
        cure="A dictionary keeps the order in which its keys came."
        if in_order
        else "Change the list after the state, in the same method.",
        expected=expected,
        got=Words(str(market.installed())),
    )


def _allowed(call: Any, *arguments: Any, what: str) -> None:
    """Call what must be allowed; a ValueError is a refusal too many."""
    try:
        call(*arguments)
    except ValueError as refusal:
        require(
            False,
            f"{what} was refused, and nothing speaks against it.",
            cause="Names count while they are in. A module stands on another one only in the same "
            "layer *and* place, and only if it came later.",
            cure="Refuse a name that is in, and a removal from under a later module of the slot.",
            got=Words(f"ValueError: {refusal}"),
        )


def _refused(call: Any, *arguments: Any) -> bool:
    try:
        call(*arguments)
    except ValueError:
        return True
    return False


def _watched_swap() -> tuple[list[Any], Any]:
    calls: list[Any] = []

    def swap(*given: Any) -> tuple[State, State]:
        calls.append(given)
        return plain_swap(*given)

    return calls, swap


def _demand_empty(market: Any) -> None:
    require(
        list(market.installed()) == [],
        "A marketplace that was opened a moment ago has modules installed.",
        cause="A dictionary in the class itself, or as a default of a parameter, is one for all "
        "marketplaces.",
        cure="Make it in `__init__`: `self.shelf = {}`.",
        got=Words(str(market.installed())),
    )


def _demand_asked(calls: list[Any]) -> None:
    require(
        calls,
        "The swap that was handed in was never asked.",
        cause="`swap_expert` or `mine(...)` is called by its name in place of `self.swap`.",
        cure="`self.state, old = self.swap(self.state, layer, expert, module)`.",
    )


@EXERCISE.stage("in and out")
def _market_round(answer: Any, seed: int) -> None:
    calls, swap = _watched_swap()
    market, state = _opened(answer, seed, swap)
    before = {name: tensor.clone() for name, tensor in state.items()}
    _demand_empty(market)
    module = expert_module(seed)
    market.install("sums", 1, 3, module)
    expected, _ = plain_swap(before, 1, 3, module)
    _demand_state(
        market, expected, "After an installation", cure="self.state, old = self.swap(...)"
    )
    _demand_names(market, ["sums"], "After an installation")
    _demand_asked(calls)
    require(
        all(torch.equal(before[name], tensor) for name, tensor in state.items()),
        "The state that the marketplace was opened with has changed.",
        cause="The swap gives a new state, and something wrote into the old one.",
        cure="Keep the new one as `self.state`.",
    )
    market.remove("sums")
    _demand_state(market, before, "After the removal", cure="Swap the old expert in again.")
    _demand_names(market, [], "After the removal")
    _allowed(market.install, "sums", 11, 0, module, what="A name that had been removed")
    _demand_names(market, ["sums"], "Installed anew elsewhere")


@EXERCISE.stage("any order")
def _market_order(answer: Any, seed: int) -> None:
    market, state = _opened(answer, seed)
    modules = [expert_module(7 * seed + i) for i in range(3)]
    places = ((1, 3), (11, 3), (1, 0))
    for name, place, module in zip("abc", places, modules, strict=True):
        market.install(name, *place, module)
    _allowed(market.remove, "a", what="The removal of the first of three, each in its own slot,")
    expected, _ = plain_swap(state, *places[1], modules[1])
    expected, _ = plain_swap(expected, *places[2], modules[2])
    _demand_state(
        market,
        expected,
        "After the first of three modules in three slots has gone",
        cause="The whole state of before was put back, and took the others along; or a place is "
        "taken for another one of equal layer or equal number.",
        cure="Put back one expert. The same slot is the same layer *and* the same expert.",
    )
    _demand_names(market, ["b", "c"], "After the first of three has gone")
    market.install("a", 11, 1, modules[0])
    _demand_names(market, ["b", "c", "a"], "After it has come again, into another slot")


@EXERCISE.stage("one on another")
def _market_pile(answer: Any, seed: int) -> None:
    market, state = _opened(answer, seed)
    low, high = expert_module(seed), expert_module(seed + 500)
    market.install("low", 1, 2, low)
    _allowed(market.install, "high", 1, 2, high, what="A second module in one slot")
    below, _ = plain_swap(state, 1, 2, low)
    above, _ = plain_swap(below, 1, 2, high)
    require(
        _refused(market.remove, "low"),
        "A module was removed that another one stands on, without a ValueError.",
        cause="What it replaced is not what stands in the slot now.",
        cure="Look for names that came later, with the same layer and expert.",
    )
    _demand_state(market, above, "After this refusal", cure="Check first, then change.")
    _demand_names(market, ["low", "high"], "After this refusal")
    market.remove("high")
    _demand_state(market, below, "After the upper one has gone", cure="Put back what it replaced.")
    market.remove("low")
    _demand_state(market, state, "After both have gone", cure="Put back what it replaced.")


@EXERCISE.stage("refusals")
def _market_refuses(answer: Any, seed: int) -> None:
    market, state = _opened(answer, seed)
    module = expert_module(seed)
    market.install("sums", 1, 3, module)
    expected, _ = plain_swap(state, 1, 3, module)
    misfit = module | {"experts.w_gate": torch.zeros(2, 2)}
    calls = {
        "a name that is installed": (market.install, "sums", 11, 1, module),
        "a name that nobody installed": (market.remove, "sum"),
        "a module that does not fit": (market.install, "other", 1, 1, misfit),
    }
    for what, (call, *arguments) in calls.items():
        require(
            _refused(call, *arguments),
            f"No ValueError for {what}.",
            cause="A dictionary overwrites in silence and raises KeyError, or an error of the "
            "swap was swallowed.",
            cure="Ask `name in ...` first; let the swap's own ValueError through.",
        )
        _demand_state(market, expected, f"After {what}", cure="Check first, then change.")
        _demand_names(market, ["sums"], f"After {what}")


@EXERCISE.stage("with your swap")
def _market_own(answer: Any, seed: int) -> None:
    state, module = model_state(seed, 3), expert_module(seed)
    market = answer(state)
    market.install("sums", 11, 1, module)
    expected, _ = plain_swap(state, 11, 1, module)
    _demand_state(market, expected, "With your own swap", cause="See exercise 12.4.")
