"""The story of routes counts what it says, and refuses records that do not fit."""

from typing import Any

import numpy as np
import pytest
import torch

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.analysis.specialisation.information import mutual_information
from moe_teach.widgets.route_numbers import (
    bits_about_domain,
    compared,
    counts_by_domain,
    divergence,
)
from moe_teach.widgets.route_story import Reference, RoutedText, Routes, RouteStory


def routes(n_tokens: int = 3, n_layers: int = 2, top_k: int = 2, **changes: Any) -> Routes:
    given = {
        "expert_ids": np.arange(n_tokens * n_layers * top_k).reshape(n_tokens, n_layers, top_k) % 5,
        "gates": np.full((n_tokens, n_layers, top_k), 0.5),
        "margins": np.zeros((n_tokens, n_layers)),
    }
    return Routes(**(given | changes))


def text(name: str = "one", tokens: str = "abc", **changes: Any) -> RoutedText:
    return RoutedText(**({"name": name, "tokens": list(tokens), "routes": routes()} | changes))


def story(**changes: Any) -> RouteStory:
    given = {
        "texts": [text(), text("two", "axc")],
        "domains": ("x", "y"),
        "counts": np.ones((2, 5, 2)),
    }
    return RouteStory(**(given | changes))


def test_choices_are_counted_by_layer_expert_and_domain() -> None:
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 7, (31, 3, 2), generator=draw)
    domains = torch.randint(0, 2, (31,), generator=draw)

    counts = counts_by_domain(ids, domains, 7, 3)

    for layer, expert, domain in np.ndindex(3, 7, 3):
        chose = (ids[:, layer] == expert).sum(-1)[domains == domain]
        assert counts[layer, expert, domain] == int(chose.sum())


def test_bits_are_none_for_independent_counts_and_all_for_one_expert_per_domain() -> None:
    even, own = np.outer([1, 2, 5], [3, 1]), np.eye(2)

    assert bits_about_domain(even[None].astype(float)) == pytest.approx([0])
    assert bits_about_domain(np.stack([own, 7 * own])) == pytest.approx([1, 1])


def test_bits_of_counts_are_those_of_the_choices_themselves() -> None:
    draw = torch.Generator().manual_seed(5)
    domains = torch.randint(0, 3, (41,), generator=draw)
    ids = torch.stack([torch.randperm(6, generator=draw)[:2] for _ in range(82)]).view(41, 2, 2)
    ids[:, 0, 0] = domains

    bits = bits_about_domain(counts_by_domain(ids, domains, 6, 3))

    for layer in range(2):
        assert bits[layer] == pytest.approx(mutual_information(ids[:, layer], domains))


def test_routes_come_from_the_record_of_one_text() -> None:
    tokens = torch.arange(6)
    record = RouteRecord(
        token_ids=tokens,
        sequence_ids=tokens // 3,
        positions=tokens % 3,
        domain_ids=torch.zeros(6, dtype=torch.long),
        domains=("text",),
        expert_ids=torch.tensor([0, 1, 1, 0] * 6).view(6, 2, 2),
        gates=torch.full((6, 2, 2), 0.5),
        margins=torch.full((6, 2), torch.inf),
        n_experts=2,
        layers=("0", "1"),
    )
    second = Routes.of(record.only(record.sequence_ids == 1))

    assert np.array_equal(second.expert_ids, record.expert_ids[3:])
    assert np.isinf(second.margins).all(), "two of two experts: nobody is left out"
    with pytest.raises(ValueError, match="holds 2 texts"):
        Routes.of(record)


def test_only_shared_tokens_from_the_first_difference_on_are_compared() -> None:
    assert compared("the cat sat", "the dog sat") == [(i, i) for i in range(7, 11)]
    assert compared("he ran", "she ran") == [(i, i + 1) for i in range(6)]
    assert compared("same", "same") == []
    assert compared("ab", "abab") == [], "what comes after the end of the other has no partner"


def test_divergence_counts_other_experts_and_not_another_order() -> None:
    first, second = [[[0, 1]], [[2, 3]]], torch.tensor([[[1, 0]], [[4, 3]]])

    assert divergence(first, second, [(0, 0), (1, 1)]) == pytest.approx([0.25])
    assert divergence(first, second, [(1, 1)]) == pytest.approx([0.5])


def test_tensors_are_taken_as_they_come_from_a_model() -> None:
    gates = torch.ones(3, 2, 2, dtype=torch.bfloat16, requires_grad=True)

    assert routes(gates=gates).gates.dtype == np.float64
    assert story().layers == ["0", "1"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: routes(expert_ids=np.full((3, 2, 2), -1)), "from 0 on"),
        (lambda: routes(gates=np.ones((3, 2))), r"gates must have the shape \(3, 2, 2\)"),
        (lambda: routes(margins=np.full((3, 2), np.nan)), "finite"),
        (lambda: routes(margins=np.full((3, 2), -np.inf)), "finite"),
        (lambda: routes(gates=np.full((3, 2, 2), np.nan)), "finite"),
        (lambda: text(tokens="ab"), "2 tokens and routes for 3"),
        (lambda: text(untrained=routes(n_layers=1)), "untrained router"),
        (lambda: text(loss_without=np.ones((3, 2, 5))), "no loss with them all"),
        (lambda: text(loss=[1.0, np.inf, 1.0]), "finite"),
        (lambda: story(texts=[]), "at least one text"),
        (lambda: story(texts=[text(), text()]), "name of its own"),
        (lambda: story(counts=np.ones((2, 4, 2))), "names expert 4, but counts speak of 4"),
        (lambda: story(counts=np.zeros((2, 5, 2))), "every layer needs some"),
        (lambda: story(damage=np.zeros((2, 5, 3))), r"damage must have the shape \(2, 5, 2\)"),
        (lambda: story(references=[Reference("random pair", [0.5])]), "each of the 2 layers"),
        (lambda: story(beyond_token={"shuffled": [0, 0]}), "trained"),
        (lambda: story(pairs=[("one", "three")]), "not there"),
        (lambda: story(texts=[text(), text("two", "abx")], pairs=[("one", "two")]), "compare"),
        (
            lambda: story(
                texts=[text(loss=np.ones(3), loss_without=np.ones((3, 2, 4)))],
            ),
            "the 5 experts of counts",
        ),
    ],
)
def test_a_record_that_does_not_fit_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
