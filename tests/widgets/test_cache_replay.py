"""The cache replay moves experts as the library's simulator does, on both sides."""

from base64 import b64encode
from collections.abc import Callable

import pytest
import torch

from moe_teach.deploy.store.foresight import as_before
from moe_teach.deploy.store.policies import Pinned
from moe_teach.deploy.store.simulator import simulate
from moe_teach.deploy.store.trace import drawn, in_one_batch, taking_turns
from moe_teach.widgets.cache_replay import POLICIES, CacheReplay

TEXTS = {name: drawn(40, 3, 7, 2, skew=skew, seed=i) for i, (name, skew) in enumerate(
    {"even": 0.0, "skewed": 1.5}.items())}  # fmt: skip
GUESSES = {name: [as_before(trace, d) for d in (1, 2)] for name, trace in TEXTS.items()}


def replay_of(**traits: object) -> CacheReplay:
    return CacheReplay.of(TEXTS, TEXTS, 1000, GUESSES, **traits)


CASES = [
    replay_of(policy=policy, trace=trace, profile="skewed", room=room, distance=distance)
    for policy in POLICIES
    for trace, room, distance in (
        ("even", 2, 0),
        ("skewed", 5, 1),
        ("even", 6, 2),
        ("skewed", 20, 2),
    )
]


def test_the_browser_moves_experts_as_the_simulator_does(in_node: Callable) -> None:
    first = CASES[0]
    state = {
        "traces": first.traces,
        "profiles": first.profiles,
        "nLayers": first.n_layers,
        "nExperts": first.n_experts,
        "topK": first.top_k,
        "farthest": first.farthest,
        "expertBytes": first.expert_bytes,
        "memory": first.memory,
        "link": first.link,
        "layer": 0,
    }
    chosen = ("trace", "policy", "profile", "room", "distance")
    given = [
        state
        | {name: getattr(widget, name) for name in chosen}
        | {name: b64encode(getattr(widget, name)).decode() for name in ("choices", "guesses")}
        for widget in CASES
    ]
    view = "new DataView(Uint8Array.from(Buffer.from(given.{0}, 'base64')).buffer)"
    views = ", ".join(f"{name}: {view.format(name)}" for name in ("choices", "guesses"))
    plan = f"m.planOf(given, m.unpack({{...given, {views}}}))"
    found = "e.hits.length + e.inTime.length, e.misses.length"
    told = f"(({{events, bill}}) => [bill, events.map((e) => [{found}])])({plan})"

    for widget, (bill, counts) in zip(CASES, in_node("cache_replay", told, given), strict=True):
        expected = widget.replay()
        shown = torch.tensor(counts).view(-1, widget.n_layers, 2)
        assert torch.equal(shown[..., 0], expected.hits), widget.words()
        assert torch.equal(shown[..., 1], expected.misses), widget.words()
        assert bill["moved"] == expected.moved_bytes
        assert bill["inTime"] == int(expected.foreseen.sum())
        assert bill["rate"] == pytest.approx(expected.hit_rate)


def test_a_trace_comes_back_as_it_was_sent() -> None:
    widget = replay_of(trace="skewed", policy="pinned", profile="even", room=8)
    expected = simulate(TEXTS["skewed"], Pinned(widget.pinned()), 8000, 1000)

    assert torch.equal(widget.replay().hits, expected.hits)
    assert len(widget.pinned()) == 8 - 2


def test_words_give_the_share_that_was_served() -> None:
    widget = replay_of(room=21, policy="LRU", distance=1)

    assert "even, LRU, read 1 layers ahead: memory for 21 of 21 experts serves" in widget.words()


def test_a_room_that_cannot_be_and_a_distance_that_was_not_recorded_are_cut() -> None:
    assert replay_of(room=1).room == 2
    assert replay_of(room=99).room == 21
    assert replay_of(distance=9).distance == 2


@pytest.mark.parametrize(
    ("traces", "profiles", "forecasts", "said"),
    [
        ({}, TEXTS, None, "at least one trace"),
        (TEXTS, {"other": drawn(9, 3, 8, 2)}, None, "one model"),
        ({"batch": in_one_batch(list(TEXTS.values()))}, TEXTS, None, "taking_turns"),
        ({"long": drawn(600, 3, 7, 2)}, TEXTS, None, "first"),
        (TEXTS, TEXTS, {"even": GUESSES["even"]}, "same forecasts"),
        (TEXTS, TEXTS, {name: own[::-1] for name, own in GUESSES.items()}, "same forecasts"),
    ],
)
def test_what_cannot_be_shown_is_refused(traces, profiles, forecasts, said) -> None:
    with pytest.raises(ValueError, match=said):
        CacheReplay.of(traces, profiles, 1000, forecasts)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no trace called 'odd'.*'even', 'skewed'"):
        replay_of(trace="odd")
    with pytest.raises(ValueError, match="no profile called"):
        replay_of(profile="odd")


def test_users_who_take_turns_can_be_shown() -> None:
    mixed = {"turns": taking_turns(list(TEXTS.values()))}

    assert CacheReplay.of(mixed, TEXTS, 1000).replay().n_requests == 80 * 3 * 2
