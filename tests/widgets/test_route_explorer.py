"""The route explorer says on both sides what its story says, and refuses what it cannot show."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from moe_teach.widgets.route_example import example
from moe_teach.widgets.route_explorer import RouteExplorer
from moe_teach.widgets.route_numbers import bits_about_domain
from moe_teach.widgets.route_story import Reference

STORY = example()
PAIR = {"text": "the nurse", "second": "the doctor"}


def as_read(widget: RouteExplorer) -> dict:
    """What the browser reads, with bytes as text."""
    state = widget.get_state(key=widget.data_traits())
    return {k: b64encode(v).decode() if isinstance(v, bytes) else v for k, v in state.items()}


def unpacked() -> str:
    binary = "['ids', 'gates', 'margins', 'losses', 'counts', 'damage']"
    view = "new DataView(Uint8Array.from(Buffer.from(given[k], 'base64')).buffer)"
    views = f"Object.fromEntries({binary}.map((k) => [k, {view}]))"
    return f"m.unpack({{...given, ...{views}}})"


def test_the_browser_counts_bits_and_partings_as_python_does(in_node: Callable) -> None:
    widgets = [
        RouteExplorer.of(STORY, layer=layer, view=view, **texts)
        for layer, view in ((0, "trained"), (3, "untrained"), (2, "shuffled"))
        for texts in (PAIR, dict(zip(PAIR, reversed(PAIR.values()), strict=True)))
    ]
    told = (
        f"((data) => [given.views.map((view) => m.bitsAbout(data.counts[view][given.layer])),"
        f" m.divergence(m.planOf(given, data).parts, given.layers.length)])({unpacked()})"
    )

    answers = in_node("route_explorer", told, [as_read(widget) for widget in widgets])

    for widget, (bits, shares) in zip(widgets, answers, strict=True):
        assert bits == pytest.approx(list(widget.bits().values()), abs=1e-6)
        assert shares == pytest.approx(widget.divergence(), abs=1e-6)
        assert any(shares) == (widget.view != "untrained"), "its tokens alone decide"


def test_what_was_told_arrives_in_the_browser(in_node: Callable) -> None:
    told = (
        f"((data) => [data.texts.map((t) => [t.trained.ids, t.untrained.margins, t.removed[1]]),"
        f" data.damage, data.counts])({unpacked()})"
    )

    [(texts, damage, counts)] = in_node("route_explorer", told, [as_read(RouteExplorer())])

    for (ids, margins, removed), text in zip(texts, STORY.texts, strict=True):
        assert np.array_equal(ids, text.routes.expert_ids)
        assert np.allclose(margins, text.untrained.margins)
        assert np.allclose(removed, text.loss_without[1])
    assert np.allclose(damage, STORY.damage)
    assert np.allclose(counts["shuffled"], STORY.shuffled_counts)


def test_bits_belong_to_the_present_layer() -> None:
    widget = RouteExplorer.of(STORY, layer=1)

    assert widget.bits()["trained"] == pytest.approx(bits_about_domain(STORY.counts)[1])
    assert list(widget.bits()) == ["trained", "untrained", "shuffled"]


def test_words_keep_the_bits_for_themselves_until_they_are_asked_for() -> None:
    widget = RouteExplorer(**PAIR, layer=2)

    assert "The trained router sends the 17 tokens of “the nurse”" in widget.words()
    assert "From where “the doctor” differs on" in widget.words()
    assert "Bits" not in widget.words() and "invented" in widget.words()
    widget.measured = True
    assert f"trained {widget.bits()['trained']:.2f}" in widget.words()
    widget.view = "untrained"
    assert "An untrained router" in widget.words()


def test_another_text_takes_away_what_does_not_belong_to_it() -> None:
    widget = RouteExplorer.of(STORY, **PAIR, token=15)

    widget.text = "the doctor"
    assert (widget.second, widget.token) == ("", 15), "no text stands beside itself"
    widget.second = "the nurse"
    widget.text = "sums"
    assert widget.second == ""
    widget.token = 999
    assert widget.token == len(STORY.texts[2].tokens) - 1
    widget.layer = widget.expert = 99
    assert (widget.layer, widget.expert) == (3, 7)


def test_a_story_without_controls_and_damage_is_shown_too() -> None:
    texts = [replace(text, untrained=None, loss=None, loss_without=None) for text in STORY.texts]
    bare = {"untrained_counts": None, "shuffled_counts": None, "damage": None}
    widget = RouteExplorer.of(replace(STORY, texts=texts, beyond_token={}, **bare))

    assert widget.views == ["trained"]
    with pytest.raises(ValueError, match="no view called 'untrained'"):
        widget.view = "untrained"


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no text called 'odd'.*'code', 'prose'"):
        RouteExplorer.of(STORY, text="odd")
    with pytest.raises(ValueError, match="no text beside it called 'code'"):
        RouteExplorer.of(STORY, text="the nurse", second="code")


def test_an_untrained_router_is_told_whole_or_not_at_all() -> None:
    with pytest.raises(ValueError, match="or not at all"):
        replace(STORY, untrained_counts=None)


def test_what_could_not_be_told_apart_is_refused() -> None:
    many = [Reference(str(i), [0.5] * 4) for i in range(4)]

    with pytest.raises(ValueError, match="More than 3 references"):
        RouteExplorer.of(replace(STORY, references=many))
    wide = np.pad(STORY.counts, ((0, 0), (0, 60), (0, 0)))
    lone = [replace(text, loss=None, loss_without=None) for text in STORY.texts]
    bare = {"untrained_counts": wide, "shuffled_counts": None, "damage": None}
    with pytest.raises(ValueError, match="64 experts, 6 domains and 200 tokens"):
        RouteExplorer.of(replace(STORY, texts=lone, counts=wide, **bare))


def test_the_example_is_always_the_same() -> None:
    assert RouteExplorer().html() == RouteExplorer().html()
