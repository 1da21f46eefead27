"""Figures of chapter 10: which program owns which tile, what is moved, and what limits the work.

Everything here takes plain numbers and arrays: no kernels, no models, no timing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from moe_teach.plots.style import HATCHES, INK, MARKERS, colours, described, figure

_MOST_PROGRAMS = 64  # more numbers than this in one picture cannot be read


def ownership(
    owner: Any, expert_offsets: Any = (), ids: Any = None, *, width: float = 6.0
) -> Figure:
    """Draw which program stored each element of an output, with lines between experts.

    `owner` (N, F) holds the ordinal of a program, or -1 where nobody stored; `expert_offsets` (E,)
    are the ends of the experts' rows. `ids`, by ordinal, are the programs' places in the grid: with
    them program (t, j) is named so, else by its ordinal. Raises `ValueError` with more than 64
    programs.
    """
    owner, ends = np.asarray(owner), np.asarray(expert_offsets)
    programs = [int(program) for program in np.unique(owner) if program >= 0]
    if len(programs) > _MOST_PROGRAMS:
        raise ValueError(
            f"{len(programs)} programs cannot be told apart: draw at most {_MOST_PROGRAMS}."
        )
    n_rows, n_columns = owner.shape
    drawing, axes = figure(width, max(2.4, 0.11 * n_rows + 0.8))
    shades = _pale(7)
    for program in programs:
        places = np.argwhere(owner == program)
        (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0) + 1
        name = str(program) if ids is None else "({}, {})".format(*ids[program])
        _tile(axes, (left, top, right - left, bottom - top), name, shades[program % 7])
    for e, end in enumerate(ends):
        begin = ends[e - 1] if e else 0
        axes.axhline(end, color=INK, lw=3)
        text = f"expert {e}" if end > begin else ""
        axes.annotate(text, (1.02 * n_columns, (begin + end) / 2), va="center", annotation_clip=0)
    axes.set(xlim=(0, n_columns), ylim=(n_rows, 0), xlabel="column", ylabel="row")
    axes.set_title("" if ids is None else "program (tile, block of columns)")
    axes.spines[:].set_visible(False)
    nobody = int((owner < 0).sum())
    left_out = f"{nobody} elements nobody stored." if nobody else "Nothing is left out."
    return described(
        drawing,
        f"A result of {n_rows} rows and {n_columns} columns, cut into the tiles of {len(programs)} "
        f"programs, each with its name. {left_out} Lines mark where each expert's rows end.",
    )


def _pale(count: int) -> list[tuple[float, ...]]:
    """Give opaque light shades of the palette, on which black can be read on any page."""
    return [tuple(0.45 * np.array(to_rgb(colour)) + 0.55) for colour in colours(count)]


def _tile(axes: Any, box: tuple[Any, ...], name: str, shade: Any) -> None:
    left, top, width, height = box
    axes.add_patch(Rectangle((left, top), width, height, facecolor=shade, edgecolor=INK, lw=1))
    middle = (left + width / 2, top + height / 2)
    axes.text(*middle, name, ha="center", va="center", fontsize=9, color="#000000")


def waste(rows_per_expert: Sequence[int], even: Any, skewed: Any) -> Figure:
    """Draw computed rows over needed rows, by block size, for an even and a skewed router.

    `even` and `skewed` give, by block size in rows, one value per entry of `rows_per_expert`.
    """
    drawing, panels = figure(9.0, 3.4, ncols=2, sharey=True)
    for axes, series, title in zip(
        panels, (even, skewed), ("even router", "skewed router"), strict=True
    ):
        for i, (block, values) in enumerate(series.items()):
            style = {"marker": MARKERS[i], "ls": ("-", "--", ":", "-.")[i % 4], "mfc": "none"}
            axes.plot(rows_per_expert, values, color=colours(i + 1)[i], label=str(block), **style)
        axes.axhline(1, color=INK, lw=0.8)
        axes.set(title=title, xlabel="rows per expert (mean)")
        _powers_of_two(axes, rows_per_expert)
    panels[0].set_ylabel("rows computed / rows needed")
    panels[0].legend(title="rows of a tile", fontsize=9, title_fontsize=9)
    low, high = min(even), max(even)
    return described(
        drawing,
        "Rows computed over rows needed, against the rows of an expert, one line for each height "
        f"of a tile. With {rows_per_expert[0]} row for each expert, tiles of {low} compute "
        f"{float(even[low][0]):.1f} times what is needed and tiles of {high} "
        f"{float(even[high][0]):.1f} times; with {rows_per_expert[-1]} rows "
        f"{float(even[low][-1]):.2f} and {float(even[high][-1]):.2f} times (even router), "
        f"{float(skewed[low][-1]):.2f} and {float(skewed[high][-1]):.2f} times (skewed router).",
    )


def _powers_of_two(axes: Any, ticks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def moved(ways: Mapping[str, Any], unit: str) -> Figure:
    """Draw what each way moves as one stacked bar, split into named parts.

    `ways` gives, by way and by part, an amount in `unit`; every way names the same parts.
    """
    drawing, axes = figure(8.0, 1.2 + 0.6 * len(ways))
    parts = list(next(iter(ways.values())))
    left = np.zeros(len(ways))
    for i, part in enumerate(parts):
        amounts = np.array([ways[way][part] for way in ways])
        style = {"facecolor": "none", "edgecolor": colours(i + 1)[i], "hatch": HATCHES[i]}
        if not HATCHES[i]:
            style["facecolor"] = style["edgecolor"]
        axes.barh(list(ways), amounts, left=left, height=0.6, label=part, lw=1.2, **style)
        left += amounts
    for row, total in enumerate(left):
        axes.annotate(f" {total:,.0f}", (total, row), va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set(xlabel=unit, xlim=(0, 1.15 * left.max()))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    drawing.legend(loc="outside upper center", ncols=len(parts), fontsize=9)
    told = (
        f"{way}: " + ", ".join(f"{name} {amount:,.0f}" for name, amount in ways[way].items())
        for way in ways
    )
    return described(drawing, f"One bar for each way, in {unit}. {'; '.join(told)}.")


def signature(
    n_tokens: Sequence[int], rates: Mapping[str, Any], slower: Mapping[str, Any], peak: float
) -> Figure:
    """Draw the figure of chapter 10: the roof over a growing batch, and what wasteful ways lose.

    `rates` gives, by layer, needed FLOPs per second at most; `slower` gives, by way, its least
    time over that of the best way; both have one value per entry of `n_tokens`. `peak` is the
    machine's limit in FLOPs a second.
    """
    drawing, (left, right) = figure(10.5, 4.4, ncols=2)
    _lines(left, n_tokens, {name: np.asarray(rate) / 1e12 for name, rate in rates.items()})
    left.axhline(peak / 1e12, color=INK, lw=1.2)
    words = f"the machine's peak: {peak / 1e12:,.0f}"
    left.annotate(words, (n_tokens[0], peak / 1e12), xytext=(0, -14), textcoords="offset points")
    left.set_yscale("log")
    left.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    left.set(title="The roof, by the data sheet", ylabel="needed TFLOPs a second, at most")
    _lines(right, n_tokens, slower, first=2)
    right.axhline(1, color=INK, lw=0.8)
    right.set_yscale("log", base=2)
    right.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    right.set(title="What a wasteful way loses", ylabel="least time / least time of fused")
    left.legend(fontsize=9, loc="lower right")
    right.legend(fontsize=9)
    return described(drawing, f"{_reached(n_tokens, rates, peak)} {_lost(n_tokens, slower)}")


def room(
    stages: Sequence[int],
    need: Mapping[str, Sequence[int]],
    limit: Mapping[str, int],
    names: Mapping[str, str],
) -> Figure:
    """Draw the shared memory that a kernel needs by stages, and what each machine has, in KB."""
    drawing, axes = figure(7.0, 3.6)
    told = []
    for i, (target, kilobytes) in enumerate(need.items()):
        colour, style = colours(i + 1)[i], ("-", "--", ":")[i % 3]
        label = f"{names[target]}: has {limit[target]}"
        axes.axhline(limit[target], color=colour, ls=style, lw=1)
        fits = [n for n, k in zip(stages, kilobytes, strict=True) if k <= limit[target]]
        marks = {"marker": MARKERS[i], "ms": 6 + 3 * (i == 0), "mfc": "none", "label": label}
        axes.plot(stages, kilobytes, color=colour, ls=style, **marks)
        told.append(f"{names[target]} needs {kilobytes[-1]} KB with {stages[-1]} and has "
                    f"{limit[target]}, enough for {max(fits)}")  # fmt: skip
    axes.set(xlabel="steps of the loop on their way at once (stages)", ylabel="KB")
    axes.set(title="Shared memory: what is needed (marks), what there is (lines without)")
    axes.set_ylim(0, 1.45 * max(limit.values()))
    axes.xaxis.set_major_locator(FixedLocator(list(stages)))
    axes.legend(fontsize=9, loc="upper left", ncols=len(need))
    return described(drawing, f"Shared memory by stages, one line a machine. {'; '.join(told)}.")


def _reached(n_tokens: Sequence[int], rates: Mapping[str, Any], peak: float) -> str:
    """Say with how many tokens each layer gets to the peak."""
    first = {
        name: next((n for n, r in zip(n_tokens, rate, strict=True) if r > 0.999 * peak), None)
        for name, rate in rates.items()
    }
    told = [f"{name} {f'with {n:,} tokens' if n else 'never'}" for name, n in first.items()]
    return f"Left: the bound on speed by tokens at once; the peak is reached by {', '.join(told)}."


def _lost(n_tokens: Sequence[int], slower: Mapping[str, Any]) -> str:
    """Say where each way loses most."""
    most = {name: int(np.argmax(np.asarray(lost))) for name, lost in slower.items()}
    told = [
        f"{name} with {n_tokens[at]:,} at once, {float(slower[name][at]):.1f} times"
        for name, at in most.items()
    ]
    return f"Right: the least time over that of the fused way. Most is lost by {', '.join(told)}."


def _lines(axes: Any, n_tokens: Sequence[int], series: Mapping[str, Any], first: int = 0) -> None:
    for i, (name, values) in enumerate(series.items(), start=first):
        style = {"marker": MARKERS[i], "ls": ("-", "--", ":", "-.")[i % 4], "mfc": "none"}
        axes.plot(n_tokens, values, color=colours(i + 1)[i], label=name, **style)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(n_tokens)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("tokens at once")
