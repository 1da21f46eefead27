"""Figures stand on light and on dark pages, and none comes without words."""

import io

import matplotlib as mpl
import pytest
from PIL import Image

from moe_teach.plots import style
from moe_teach.plots.style import INK, PALETTE, described, figure, show_figure, to_png

DARK = "#111111"  # the ground of JupyterLab's dark theme


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in
              mpl.colors.to_rgb(colour)]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def picture(drawing) -> Image.Image:
    return Image.open(io.BytesIO(to_png(drawing))).convert("RGBA")


@pytest.mark.parametrize("ground", ["white", DARK])
def test_ink_stands_out_from_light_and_dark_pages(ground):
    assert contrast(INK, ground) >= 4.2


def test_no_colour_of_the_palette_vanishes_on_a_dark_page():
    assert min(contrast(colour, DARK) for colour in PALETTE) > 3


def test_a_figure_has_no_ground_of_its_own():
    drawing, axes = figure(3.0, 2.0)
    axes.plot([0, 1], label="a")
    axes.legend(loc="center")
    assert picture(drawing).getpixel((1, 1))[3] == 0
    legend = axes.get_legend()
    assert not legend.get_frame_on()


def test_what_is_written_without_a_colour_is_in_ink_and_a_chosen_colour_stays():
    drawing, axes = figure(3.0, 2.0)
    plain = axes.text(0.1, 0.5, "plain")
    chosen = axes.text(0.1, 0.8, "chosen", color="#009E73")
    axes.set_title("title")
    to_png(drawing)
    assert plain.get_color() == INK and chosen.get_color() == "#009E73"
    assert axes.title.get_color() == INK


@pytest.mark.parametrize("colours", [None, 32])
def test_few_colours_keep_the_ground_transparent(colours):
    drawing, axes = figure(3.0, 2.0)
    axes.bar([0, 1], [1, 2])
    image = Image.open(io.BytesIO(to_png(drawing, colours))).convert("RGBA")
    assert image.getpixel((1, 1))[3] == 0


def test_the_words_of_a_figure_come_with_it_and_not_from_the_cell(monkeypatch):
    shown = {}
    monkeypatch.setattr(style, "display", lambda bundle, **more: shown.update(bundle, **more))
    drawing, _ = figure(3.0, 2.0)
    show_figure(described(drawing, "Two empty axes."))
    assert shown["text/plain"] == "Two empty axes."
    assert shown["metadata"]["image/png"]["alt"] == "Two empty axes."


def test_a_figure_without_words_is_refused_in_a_sentence():
    drawing, _ = figure(3.0, 2.0)
    with pytest.raises(ValueError, match="no alternative text"):
        show_figure(drawing)
