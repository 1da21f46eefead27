"""The stored traces are the shipped model's, and loads are made of them as their names say."""

import torch

from moe_teach.chapters.ch14_memory.recorded import (
    TEXT,
    as_trace,
    loads,
    one_after_another,
    record,
    stored_traces,
)


def test_the_stored_traces_are_those_of_the_shipped_model() -> None:
    fresh, stored = record(), stored_traces()

    assert list(fresh) == list(stored)
    for domain, own in fresh.items():
        for new, old in zip(own, stored[domain], strict=True):
            assert new.n_experts == old.n_experts == 16
            # Nearly equal experts may change places on another machine.
            assert (new.expert_ids == old.expert_ids).float().mean() > 0.97


def test_every_load_is_as_long_as_a_text() -> None:
    for n in range(3):
        names, traces = zip(*loads(n), strict=True)

        assert names[-2:] == ("four users in turn", "a user who changes")
        assert {len(trace) for trace in traces} == {TEXT}


def test_users_in_turn_alternate_and_a_user_who_changes_does_not() -> None:
    own = dict(loads(0))
    first = [traces[0].expert_ids for traces in stored_traces().values()]

    turns, change = (own[name].expert_ids for name in ("four users in turn", "a user who changes"))
    assert torch.equal(turns[:4], torch.stack([ids[0] for ids in first]))
    assert torch.equal(change[:64], first[0][:64]) and torch.equal(change[64:128], first[1][:64])


def test_texts_one_after_another_keep_their_order() -> None:
    one, two = (as_trace(torch.full((3, 1, 1), e)) for e in (1, 2))

    assert one_after_another([one, two], 2).expert_ids.flatten().tolist() == [1, 1, 2, 2]
