"""The figure of chapter 15 says what it was given, in words and marks and not colour alone."""

from moe_teach.chapters.ch15_serving.figures import signature
from moe_teach.plots.style import MAX_BYTES, to_png

SIZES, WIDE = (1, 4, 16), (1, 8, 64, 512)
DISTINCT = {"formula": [2.0, 6.6, 14.1], "copies": [2.0, 2.0, 2.0]}
OVER = {"a laptop": [1.0, 5.2, 2.5, 1.0], "a server": [1.0, 5.3, 8.0, 3.2]}


def test_every_line_is_named_and_has_its_own_mark() -> None:
    drawing = signature(SIZES, DISTINCT, WIDE, OVER, [1.1, 3.0, 6.0])
    for axes, names in zip(drawing.axes, (DISTINCT, [*OVER, "this machine"]), strict=True):
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert len(labels) == len(list(names)) and labels[0] == next(iter(names))
        marks = [line.get_marker() for line in axes.lines if line.get_marker() != "None"]
        assert len(set(marks)) == len(marks)


def test_the_words_give_the_ends_and_the_worst() -> None:
    alt = signature(SIZES, DISTINCT, WIDE, OVER, [1.1, 3.0, 6.0]).get_gid()
    assert "formula from 2.0 to 14.1" in alt and "copies from 2.0 to 2.0" in alt
    assert "a server 1.0 with one token, 8.0 at the worst with 64, 3.2 with 512" in alt


def test_it_fits_the_budget() -> None:
    assert len(to_png(signature(SIZES, DISTINCT, WIDE, OVER, [1.1, 3.0, 6.0]))) <= MAX_BYTES


def test_what_lies_above_the_frame_is_an_arrow_with_its_number() -> None:
    right = signature(SIZES, DISTINCT, WIDE, OVER, [1.1, 40.0, 6.0]).axes[1]
    assert [text.get_text() for text in right.texts] == ["40"]
    assert right.get_ylim()[1] < 40
