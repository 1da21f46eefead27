"""Figures of the kernel chapters: which program of a launch owns which element of a tensor.

Everything here takes plain arrays, as a watched launch gives them: no kernels, no tensors.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moe_teach.plots.style import HATCHES, colours, figure

_LANE = 0.42  # inches of a lane's side
_MOST_CELLS = 1200  # more cells than this are too small to be read
_IDLE = "#dddddd"


def lanes(elements: Sequence[Sequence[int]], block: int, *, title: str = "") -> Figure:
    """Draw one line of lanes for each program, with the element each lane works on.

    `elements[p]` lists what program p touched, in the order of its lanes; lanes beyond that list
    were switched off by a mask and are hatched. `block` is the number of lanes of a program.
    Raises `ValueError` if a program touched more elements than it has lanes.
    """
    if any(len(own) > block for own in elements):
        raise ValueError(f"A program with {block} lanes cannot work on more elements than that.")
    height = 1.1 + _LANE * len(elements)
    drawing, axes = figure(max(3.6, 1.6 + 1.2 * _LANE * block), height)
    shades = colours(len(elements))
    for program, own in enumerate(elements):
        for lane in range(block):
            busy = lane < len(own)
            look = {"facecolor": shades[program], "alpha": 0.35} if busy else _idle()
            axes.add_patch(Rectangle((lane, program), 1, 1, **look))
            axes.add_patch(Rectangle((lane, program), 1, 1, fill=False, lw=0.8))
            label = str(own[lane]) if busy else ""
            axes.text(lane + 0.5, program + 0.5, label, ha="center", va="center", fontsize=10)
    axes.set(xlim=(0, block), ylim=(len(elements), 0), title=title)
    axes.set(xlabel="lane of the program", ylabel="program")
    axes.set_xticks(np.arange(block) + 0.5, [str(i) for i in range(block)])
    axes.set_yticks(np.arange(len(elements)) + 0.5, [str(i) for i in range(len(elements))])
    _bare(axes)
    return drawing


def owners(
    panels: Mapping[str, Any], *, names: Mapping[str, Sequence[str]] | None = None
) -> Figure:
    """Draw tensors as grids of cells, each tile with the number of the program that stored it.

    Args:
        panels: a title, and an array (rows, columns) of program numbers; -1 where nobody stored.
        names: for a title, the labels of its axes as (columns, rows).

    Raises `ValueError` for panels with more cells than can be read.
    """
    grids = {title: np.atleast_2d(np.asarray(grid)) for title, grid in panels.items()}
    if sum(grid.size for grid in grids.values()) > _MOST_CELLS:
        raise ValueError(f"More than {_MOST_CELLS} cells cannot be told apart: draw fewer.")
    widths = [max(grid.shape[1], 3) for grid in grids.values()]
    tallest = max(grid.shape[0] for grid in grids.values())
    size = (0.9 * len(grids) + 0.28 * sum(widths), 1.2 + 0.2 * tallest)
    drawing, axes = figure(*size, ncols=len(grids), width_ratios=widths, squeeze=False)
    for panel, (title, grid) in zip(axes[0], grids.items(), strict=True):
        _grid(panel, grid, tallest)
        across, down = (names or {}).get(title, ("", ""))
        panel.set(title=title, xlabel=across, ylabel=down)
        # Panels share a scale, so the shorter ones end early: the label belongs beside the cells.
        middle = 1 - grid.shape[0] / tallest / 2
        panel.yaxis.set_label_coords(-1.1 / max(grid.shape[1], 3), middle)
    return drawing


def _grid(axes: Any, grid: np.ndarray, tallest: int) -> None:
    n_rows, n_columns = grid.shape
    shades = np.array([to_rgb(shade) for shade in colours(int(grid.max(initial=0)) + 1)])
    picture = np.where(grid[..., None] >= 0, 0.35 * shades[grid] + 0.65, 1.0)
    axes.imshow(picture, extent=(0, n_columns, n_rows, 0), aspect="auto", interpolation="none")
    for program in np.unique(grid):
        mine = grid == program
        axes.add_collection(LineCollection(_outline(mine), colors="black", linewidths=0.7))
        if program >= 0:
            row, column = np.argwhere(mine).mean(axis=0) + 0.5
            axes.text(column, row, str(program), ha="center", va="center", fontsize=8)
    axes.set(xlim=(0, n_columns), ylim=(tallest, 0), xticks=[], yticks=[0.5, n_rows - 0.5])
    axes.set_yticklabels(["0", str(n_rows - 1)])
    if n_columns > 1:
        axes.set_xticks([0.5, n_columns - 0.5], ["0", str(n_columns - 1)])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    _bare(axes)


def _outline(mine: np.ndarray) -> list[list[tuple[int, int]]]:
    """Give the border of a tile: the sides on which its neighbour belongs to somebody else."""
    framed = np.pad(mine, 1)
    across = np.argwhere(framed[1:, 1:-1] != framed[:-1, 1:-1]).tolist()
    down = np.argwhere(framed[1:-1, 1:] != framed[1:-1, :-1]).tolist()
    return [[(c, r), (c + 1, r)] for r, c in across] + [[(c, r), (c, r + 1)] for r, c in down]


def _idle() -> dict[str, Any]:
    return {"facecolor": "white", "edgecolor": _IDLE, "hatch": HATCHES[1]}


def _bare(axes: Any) -> None:
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
