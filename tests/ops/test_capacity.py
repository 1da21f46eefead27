"""Who gets in when an expert is full."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_teach.ops.capacity import apply_capacity, capacity_of
from moe_teach.types import Routing

POLICIES = ("first_come", "by_gate", "random")


def a_routing(gates, ids, kept=None) -> Routing:
    ids = torch.as_tensor(ids)
    blank = torch.zeros(len(ids), 4)
    return Routing(blank, blank, torch.as_tensor(gates), ids, kept)


@pytest.mark.parametrize(
    ("n_tokens", "n_experts", "top_k", "factor", "expected"),
    [
        (8, 4, 1, 1.0, 2),
        (8, 4, 2, 1.25, 5),
        (7, 4, 1, 1.0, 2),
        (0, 4, 2, 1.0, 0),
        (1, 64, 1, 1.0, 1),
        (50, 1, 1, 1.1, 55),
    ],
)
def test_capacity_is_the_formula_rounded_up(n_tokens, n_experts, top_k, factor, expected) -> None:
    assert capacity_of(n_tokens, n_experts, top_k, factor) == expected


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), capacity=st.integers(0, 12), n_tokens=st.integers(0, 15))
def test_no_expert_takes_more_than_its_capacity_and_none_less_than_it_could(
    policy: str, seed: int, capacity: int, n_tokens: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.rand(n_tokens, 4, generator=generator).argsort(dim=-1)[:, :2]
    routing = a_routing(torch.rand(n_tokens, 2, generator=generator), ids)

    kept = apply_capacity(routing, capacity, policy, generator).kept

    wanted = torch.bincount(ids.flatten(), minlength=4)
    taken = torch.bincount(ids[kept], minlength=4)
    assert taken.tolist() == wanted.clamp_max(capacity).tolist()


def test_first_come_turns_away_the_end_of_the_batch() -> None:
    routing = a_routing(torch.tensor([[0.1], [0.2], [0.9], [0.9]]), [[3], [3], [3], [3]])
    kept = apply_capacity(routing, 2, "first_come").kept
    assert kept.flatten().tolist() == [True, True, False, False]


def test_by_gate_turns_away_the_least_convinced() -> None:
    routing = a_routing(torch.tensor([[0.1], [0.2], [0.9], [0.9]]), [[3], [3], [3], [3]])
    kept = apply_capacity(routing, 3, "by_gate").kept
    assert kept.flatten().tolist() == [False, True, True, True]


def test_random_gives_everyone_the_same_chance_and_follows_its_generator() -> None:
    routing = a_routing(torch.ones(4, 1), [[3]] * 4)
    draws = [
        apply_capacity(routing, 2, "random", torch.Generator().manual_seed(seed)).kept.flatten()
        for seed in range(400)
    ]
    share = torch.stack(draws).float().mean(dim=0)
    torch.testing.assert_close(share, torch.full((4,), 0.5), atol=0.08, rtol=0)
    again = apply_capacity(routing, 2, "random", torch.Generator().manual_seed(7)).kept
    assert torch.equal(again.flatten(), draws[7])


def test_what_was_dropped_before_takes_no_place() -> None:
    already = torch.tensor([[False], [True], [True]])
    routing = a_routing(torch.ones(3, 1), [[0], [0], [0]], already)
    assert torch.equal(apply_capacity(routing, 2, "first_come").kept, already)


@pytest.mark.parametrize("policy", ["first_come", "by_gate"])
def test_padding_takes_no_place_and_is_never_kept(policy) -> None:
    real = torch.tensor([False, True, False, True, True])
    gates, ids = torch.rand(5, 2), torch.tensor([[0, 1], [0, 2], [0, 2], [2, 0], [0, 1]])
    kept = apply_capacity(a_routing(gates, ids), 2, policy, real=real).kept
    alone = apply_capacity(a_routing(gates[real], ids[real]), 2, policy).kept
    assert torch.equal(kept[real], alone) and not kept[~real].any()


def test_dropping_leaves_gates_and_choices_as_they_were() -> None:
    routing = a_routing(torch.rand(6, 2), torch.zeros(6, 2, dtype=torch.long))
    limited = apply_capacity(routing, 1, "first_come")
    assert torch.equal(limited.gates, routing.gates)
    assert torch.equal(limited.expert_ids, routing.expert_ids)
    assert routing.kept is None, "the record that came in is not touched"


@pytest.mark.usefixtures("as_a_user")
def test_impossible_capacities_are_refused() -> None:
    with pytest.raises(ValueError, match="must be positive, but it is 0"):
        capacity_of(4, 4, 1, 0)
    routing = a_routing(torch.ones(1, 1), [[0]])
    with pytest.raises(ValueError, match="cannot be negative"):
        apply_capacity(routing, -1, "first_come")
    with pytest.raises(ValueError, match="Unknown policy 'lifo'"):
        apply_capacity(routing, 1, "lifo")
