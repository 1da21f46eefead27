"""The explorer drops and keeps exactly what the library does."""

import itertools
from collections.abc import Callable

import pytest
import torch
import traitlets

from moe_teach.config import RouterConfig
from moe_teach.nn.router import Router
from moe_teach.ops.balance import tokens_per_expert
from moe_teach.types import Routing
from moe_teach.widgets.dispatch_explorer import DispatchExplorer


def routed(n_tokens: int, n_experts: int, top_k: int) -> Routing:
    router = Router(8, RouterConfig(n_experts=n_experts, top_k=top_k))
    return router(3 * torch.randn(n_tokens, 8))


def explorers() -> list[DispatchExplorer]:
    sizes = [(1, 1, 1), (1, 4, 2), (7, 3, 3), (13, 5, 2), (64, 16, 4)]
    settings = itertools.product(
        sizes, ["first_come", "by_gate"], ["as given", "reversed"], [0.0, 1.7], [0.25, 1.1, 3.0]
    )
    return [
        DispatchExplorer.of(
            routed(*size), policy=policy, order=order, skew=skew, capacity_factor=factor
        )
        for size, policy, order, skew, factor in settings
    ]


def state_of(explorer: DispatchExplorer) -> dict[str, object]:
    """The traits under the names that the script uses."""
    return {
        "expertIds": explorer.expert_ids,
        "gates": explorer.gates,
        "logits": explorer.logits,
        "capacityFactor": explorer.capacity_factor,
        "policy": explorer.policy,
        "order": explorer.order,
        "skew": explorer.skew,
        "seed": explorer.seed,
        "selected": explorer.selected,
    }


def test_the_browser_keeps_what_the_library_keeps(in_node: Callable) -> None:
    made = explorers()

    answers = in_node("dispatch_explorer", "m.explore(given)", [state_of(e) for e in made])

    for explorer, got in zip(made, answers, strict=True):
        expected = explorer.routing()
        about = explorer.words()
        assert got["capacity"] == explorer.capacity, about
        assert [row["expertIds"] for row in got["tokens"]] == expected.expert_ids.tolist(), about
        assert [row["kept"] for row in got["tokens"]] == expected.kept.tolist(), about
        assert f"{got['dropped']} of {got['choices']} choices are dropped" in about


def test_what_is_random_drops_as_many_and_repeats(in_node: Callable) -> None:
    routing = routed(40, 5, 2)
    first = DispatchExplorer.of(routing, capacity_factor=0.8)
    drawn = DispatchExplorer.of(routing, capacity_factor=0.8, policy="random", order="shuffled")

    fixed, once, again = in_node(
        "dispatch_explorer", "m.explore(given)", [state_of(e) for e in (first, drawn, drawn)]
    )

    assert once == again
    assert once["dropped"] == fixed["dropped"], "a policy decides who is dropped, not how many"
    assert sorted(row["token"] for row in once["tokens"]) == list(range(40))


def test_every_choice_is_either_in_a_slot_or_dropped(in_node: Callable) -> None:
    made = explorers()[::7]

    answers = in_node("dispatch_explorer", "m.explore(given)", [state_of(e) for e in made])

    for explorer, got in zip(made, answers, strict=True):
        demand = tokens_per_expert(explorer.routing()).tolist()
        filled = [sum(slot is not None for slot in e["slots"]) for e in got["experts"]]
        lost = [len(e["dropped"]) for e in got["experts"]]
        assert [f + d for f, d in zip(filled, lost, strict=True)] == demand
        assert got["padded"] == sum(slot is None for e in got["experts"] for slot in e["slots"])


@pytest.mark.parametrize(
    ("routing", "reason"),
    [
        (lambda: routed(65, 4, 2), "1 to 64 tokens"),
        (lambda: routed(5, 17, 2), "room for 16 experts"),
        (
            lambda: Router(8, RouterConfig(n_experts=4, top_k=2, choice="expert"))(
                torch.randn(8, 8)
            ),
            "With expert choice nobody overflows",
        ),
    ],
    ids=["too many tokens", "too many experts", "expert choice"],
)
def test_a_routing_that_cannot_be_shown_is_refused(
    routing: Callable[[], Routing], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        DispatchExplorer.of(routing())


@pytest.mark.parametrize(("trait", "value"), [("capacity_factor", 0.0), ("skew", -1.0)])
def test_a_bad_setting_is_refused_in_a_sentence(trait: str, value: float) -> None:
    with pytest.raises(ValueError, match="must be a finite"):
        setattr(DispatchExplorer(), trait, value)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(traitlets.TraitError):
        DispatchExplorer(policy="last_come")


def test_words_do_not_pretend_to_know_what_the_browser_draws() -> None:
    assert "served in random order" in DispatchExplorer(policy="random").words()
    with pytest.raises(ValueError, match="drawn in the browser"):
        DispatchExplorer(order="shuffled").routing()
