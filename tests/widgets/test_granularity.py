"""The granularity widget counts what Python counts, and refuses what cannot be built."""

from collections.abc import Callable

import pytest

from moe_teach.widgets.granularity import Granularity


def test_the_browser_counts_what_python_counts(in_node: Callable) -> None:
    made = [
        Granularity(n_experts=n, top_k=k, d_ff=f, split=split, n_shared=shared)
        for n, k, f, split, shared in [(8, 1, 64, 1, 0), (8, 1, 64, 4, 1), (5, 2, 12, 6, 3)]
    ]
    given = [
        {
            "nExperts": w.n_experts,
            "topK": w.top_k,
            "dFf": w.d_ff,
            "dModel": w.d_model,
            "split": w.split,
            "nShared": w.n_shared,
            "measured": w.measured,
        }
        for w in made
    ]

    answers = in_node(
        "granularity",
        "(({routed, chosen, width, routes, router}) => [routed, chosen, width, Number(routes), "
        "router])(m.designOf(given))",
        given,
    )
    offered = in_node("granularity", "m.splitsOf(given.dFf, given.nExperts)", given)

    assert answers == [list(w.design.values()) for w in made]
    assert offered == [w.splits for w in made]


def test_a_cut_that_does_not_come_out_even_is_refused() -> None:
    with pytest.raises(ValueError, match="not into 3"):
        Granularity(split=3)


def test_sharing_everything_is_refused_and_a_coarser_cut_shares_less() -> None:
    widget = Granularity(split=8, n_shared=7)
    with pytest.raises(ValueError, match="nothing is left to choose"):
        widget.n_shared = 8

    widget.split = 2

    assert widget.n_shared == 1


def test_words_give_the_measured_bits_where_there_are_some() -> None:
    widget = Granularity.of([(1, 0, [45.0, 46.0]), (4, 1, [46.8])])

    assert "Measured: 45.5 kilobits over 2 seeds." in widget.words()
    widget.split = 4
    assert "Nobody measured this one." in widget.words()
    widget.n_shared = 1
    assert "4,495 routes" in widget.words() and "46.8 kilobits" in widget.words()


def test_a_design_without_a_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        Granularity.of([(1, 0, [])])


def test_more_choices_than_experts_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot choose 9 of 8"):
        Granularity(top_k=9)
