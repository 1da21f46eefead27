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

from moe_teach.plots.style import FAINT, HATCHES, INK, PALETTE, colours, described, figure

Number = float | int
ON_FILL = "#222222"  # text on a pastel ground, which is light on every page
_LANE = 0.42  # inches of a lane's side
_OFF = "hatched: switched off by the mask"
_MOST_CELLS = 1200  # more cells than this are too small to be read


def pastel(shade: str) -> tuple[float, float, float]:
    """Lighten a colour until dark text can be read on it."""
    red, green, blue = (0.4 * part + 0.6 for part in to_rgb(shade))
    return red, green, blue


def lanes(elements: Sequence[Sequence[int]], block: int, *, title: str = "") -> Figure:
    """Draw one line of lanes for each program, with the element each lane works on.

    `elements[p]` lists what program p touched, in the order of its lanes; lanes beyond that list
    were switched off by a mask and are hatched. `block` is the number of lanes of a program.
    Raises `ValueError` if a program touched more elements than it has lanes.
    """
    if any(len(own) > block for own in elements):
        raise ValueError(f"A program with {block} lanes cannot work on more elements than that.")
    height = 1.6 + _LANE * len(elements)
    drawing, axes = figure(max(3.6, 1.6 + 1.2 * _LANE * block), height)
    shades = colours(len(elements))
    for program, own in enumerate(elements):
        for lane in range(block):
            text = str(own[lane]) if lane < len(own) else ""
            _cell(axes, lane, program, text, shades[program], off=lane >= len(own))
    axes.set(xlim=(0, block), ylim=(len(elements), 0), title=title)
    axes.set(xlabel=f"lane of the program\n({_OFF})", ylabel="program")
    axes.set_xticks(np.arange(block) + 0.5, [str(i) for i in range(block)])
    axes.set_yticks(np.arange(len(elements)) + 0.5, [str(i) for i in range(len(elements))])
    _bare(axes)
    told = (f"program {program}: {_ranged(own)}" for program, own in enumerate(elements))
    off = block * len(elements) - sum(map(len, elements))
    alt = f"Elements of each program, {block} lanes each: {'; '.join(told)}; {off} lanes are off."
    return described(drawing, alt)


def tile(
    rows: Sequence[int], columns: Sequence[int], stride: int, shape: tuple[int, int]
) -> Figure:
    """Draw how a block of rows and a block of columns make a tile of offsets.

    Row numbers stand on the left, times `stride`, columns on top; inside stand their sums. What
    lies beyond the `shape` (rows, columns) of the tensor is hatched.
    """
    drawing, axes = figure(1.9 + 0.62 * len(columns), 1.2 + 0.4 * len(rows))
    for place, column in enumerate(columns):
        _cell(axes, place + 0.4, -1.3, str(column), PALETTE[0], off=column >= shape[1])
    for line, row in enumerate(rows):
        _cell(axes, -1.2, line, str(row * stride), PALETTE[1], off=row >= shape[0])
        for place, column in enumerate(columns):
            off = row >= shape[0] or column >= shape[1]
            _cell(axes, place + 0.4, line, str(row * stride + column), PALETTE[2], off=off)
    axes.text(-0.7, -0.8, "+", ha="center", va="center", fontsize=13)
    axes.set(xlim=(-1.3, len(columns) + 0.5), ylim=(len(rows), -1.4), xticks=[])
    axes.set_title("column[None, :]", fontsize=10, family="monospace")
    axes.set_ylabel(f"row[:, None] * {stride}", family="monospace")
    axes.set_xlabel(f"the tile of offsets ({_OFF})")
    axes.set_yticks(np.arange(len(rows)) + 0.5, [f"row {row}" for row in rows])
    _bare(axes)
    on = sum(row < shape[0] for row in rows) * sum(column < shape[1] for column in columns)
    return described(
        drawing,
        f"A column of row numbers times {stride} and a line of column numbers span a tile of "
        f"{len(rows)} by {len(columns)} offsets, each the sum of its row's and its column's; "
        f"{on} of them lie inside the tensor, the others are hatched.",
    )


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
    told = (
        f"{title}, {grid.size} cells by {len(np.unique(grid[grid >= 0]))} programs, "
        f"{(grid < 0).sum()} left out"
        for title, grid in grids.items()
    )
    return described(drawing, f"Who stored each cell of a tensor: {'; '.join(told)}.")


def _grid(axes: Any, grid: np.ndarray, tallest: int) -> None:
    n_rows, n_columns = grid.shape
    shades = np.array([pastel(shade) for shade in colours(int(grid.max(initial=0)) + 1)])
    opaque = np.concatenate([shades[grid], (grid >= 0)[..., None]], axis=-1)
    axes.imshow(opaque, extent=(0, n_columns, n_rows, 0), aspect="auto", interpolation="none")
    for program in np.unique(grid):
        mine = grid == program
        axes.add_collection(LineCollection(_outline(mine), colors=INK, linewidths=0.8))
        if program >= 0:
            row, column = np.argwhere(mine).mean(axis=0) + 0.5
            look = {"ha": "center", "va": "center", "fontsize": 8, "color": ON_FILL}
            axes.text(column, row, str(program), **look)
    axes.set(xlim=(0, n_columns), ylim=(tallest, 0), xticks=[], yticks=[0.5, n_rows - 0.5])
    axes.set_yticklabels(["0", str(n_rows - 1)])
    if n_columns > 1:
        axes.set_xticks([0.5, n_columns - 0.5], ["0", str(n_columns - 1)])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    _bare(axes)


def _cell(axes: Any, left: Number, top: Number, text: str, shade: str, *, off: bool) -> None:
    look = (
        {"fc": "none", "ec": FAINT, "hatch": HATCHES[1]}
        if off
        else {"fc": pastel(shade), "ec": INK}
    )
    axes.add_patch(Rectangle((left, top), 1, 1, lw=0.8, **look))
    colour = INK if off else ON_FILL
    axes.text(left + 0.5, top + 0.5, text, ha="center", va="center", fontsize=9, color=colour)


def _ranged(own: Sequence[int]) -> str:
    """Name neighbours by the first and the last of them."""
    whole = len(own) > 1 and list(own) == list(range(own[0], own[0] + len(own)))
    return f"{own[0]} to {own[-1]}" if whole else ", ".join(map(str, own)) or "none"


def _outline(mine: np.ndarray) -> list[list[tuple[int, int]]]:
    """Give the border of a tile: the sides on which its neighbour belongs to somebody else."""
    framed = np.pad(mine, 1)
    across = np.argwhere(framed[1:, 1:-1] != framed[:-1, 1:-1]).tolist()
    down = np.argwhere(framed[1:-1, 1:] != framed[1:-1, :-1]).tolist()
    return [[(c, r), (c + 1, r)] for r, c in across] + [[(c, r), (c, r + 1)] for r, c in down]


def _bare(axes: Any) -> None:
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
