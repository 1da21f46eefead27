"""The figures of the kernel chapters show who owns what, in numbers and not in colour alone."""

import numpy as np
import pytest

from moe_teach.chapters.ch09_triton_dispatch.figures import lanes, owners, tile
from moe_teach.plots.style import MAX_BYTES, to_png

GRID = np.array([[0, 0, 1], [2, 2, -1]])


def _words(axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_every_busy_lane_names_its_element_and_idle_lanes_stay_empty() -> None:
    axes = lanes([[0, 1, 2, 3], [4, 5]], 4).axes[0]

    assert _words(axes) == ["0", "1", "2", "3", "4", "5"]
    assert sum(bool(patch.get_hatch()) for patch in axes.patches) == 2


def test_lanes_refuse_a_program_with_more_elements_than_lanes() -> None:
    with pytest.raises(ValueError, match="4 lanes cannot"):
        lanes([[0, 1, 2, 3, 4]], 4)


def test_each_program_is_named_once_in_its_tile_and_nobodys_cells_are_not() -> None:
    axes = owners({"rows": GRID}).axes[0]

    assert sorted(_words(axes)) == ["0", "1", "2"]


def test_a_tile_is_outlined_where_its_neighbour_is_somebody_elses() -> None:
    axes = owners({"one tile": np.zeros((2, 3), dtype=int)}).axes[0]

    assert len(axes.collections[0].get_segments()) == 2 * (2 + 3)


def test_panels_carry_titles_and_axes() -> None:
    panels = owners({"a": GRID, "b": GRID.T}, names={"a": ("expert", "block")}).axes

    assert [panel.get_title() for panel in panels] == ["a", "b"]
    assert panels[0].get_xlabel() == "expert"
    assert panels[0].get_ylabel() == "block"


def test_a_column_of_one_has_no_numbers_across() -> None:
    axes = owners({"token_idx": np.arange(3)[:, None]}).axes[0]

    assert len(axes.get_xticks()) == 0
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "2"]


def test_more_cells_than_an_eye_can_follow_are_refused() -> None:
    with pytest.raises(ValueError, match="More than 1200"):
        owners({"large": np.zeros((60, 60), dtype=int)})


def test_the_figures_stay_within_their_budget() -> None:
    large = np.arange(52).reshape(26, 2).repeat(4, axis=1)

    assert len(to_png(owners({"a": large, "b": large}))) <= MAX_BYTES
    assert len(to_png(lanes([range(8)] * 8, 8))) <= MAX_BYTES


def test_a_tile_holds_the_sums_of_its_rows_and_columns_and_hatches_what_lies_outside() -> None:
    drawing = tile(range(24, 28), range(8), 6, (26, 6))
    axes = drawing.axes[0]

    assert {"144", "150", "145", "155"} <= set(_words(axes))
    assert sum(bool(patch.get_hatch()) for patch in axes.patches) == 2 + 2 + (4 * 8 - 2 * 6)
    assert "12 of them lie inside" in drawing.get_gid()


def test_the_alternative_texts_name_what_the_figures_show() -> None:
    assert "program 1: 4, 6; 2 lanes are off" in lanes([[0, 1, 2, 3], [4, 6]], 4).get_gid()
    assert "rows, 6 cells by 3 programs, 1 left out" in owners({"rows": GRID}).get_gid()
