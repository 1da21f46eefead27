"""Figures of chapter 04: where rows go, what the way there costs, and who is left out.

Everything here takes plain numbers, arrays or index tensors: no models, no timing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    NullLocator,
    PercentFormatter,
    ScalarFormatter,
    StrMethodFormatter,
)

from moe_teach.plots.style import HATCHES, MARKERS, colours, figure

_LOST_MAP = "cividis"  # readable with every common colour vision, dark to light in grey print
_MOST_LINES = 64  # more crossing lines than this are a grey mat, not a picture


def sorting(expert_ids: Any) -> Figure:
    """Draw the choices in token order on the left, sorted by expert on the right.

    `expert_ids` (T, K) are integers; each line follows one choice from its token to its row.
    Raises `ValueError` with more than 64 choices, where lines could not be followed.
    """
    ids = np.asarray(expert_ids)
    chosen = ids.reshape(-1)
    if chosen.size > _MOST_LINES:
        raise ValueError(
            f"{chosen.size} lines cannot be told apart: draw at most {_MOST_LINES} choices."
        )
    order = np.argsort(chosen, kind="stable")
    top_k, n_experts = ids.shape[1], int(chosen.max()) + 1
    drawing, axes = figure(6.4, max(2.4, 0.3 * chosen.size))
    axes.set(xlim=(-0.6, 1.6), ylim=(chosen.size - 0.5, -0.5), xticks=[0, 1], yticks=[])
    axes.set_xticklabels(["choices, token by token", "rows, expert by expert"])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    shades = colours(n_experts)
    for row, choice in enumerate(order):
        expert = chosen[choice]
        token = f"token {choice // top_k}"
        _card(axes, 0, int(choice), f"{token} → expert {expert}", shades[expert])
        _card(axes, 1, row, f"expert {expert} ← {token}", shades[expert])
        axes.plot([0.31, 0.69], [choice, row], color=shades[expert], lw=1.4)
    return drawing


def _card(axes: Any, x: int, y: int, text: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour, "linewidth": 2}
    axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=box)


def buffers(tokens_per_expert: Any, capacity: int) -> Figure:
    """Draw one bar per expert: rows that fit, places that stay empty, rows that find no place.

    `tokens_per_expert` (E,) counts the choices of each expert; `capacity` is C in rows.
    """
    counts = np.asarray(tokens_per_expert)
    experts = np.arange(counts.size)
    used, empty = np.minimum(counts, capacity), np.maximum(capacity - counts, 0)
    parts = (
        ("computed and needed", used, 0 * used, 0),
        ("computed for nothing (padding)", empty, used, 1),
        ("needed and dropped", counts - used, used, 3),
    )
    drawing, axes = figure(7.0, 3.2)
    shades = colours(4)
    for label, height, bottom, look in parts:
        face = shades[look] if look == 0 else "white"
        style = {"edgecolor": shades[look], "hatch": HATCHES[look], "facecolor": face}
        edges = np.where(height > 0, 1.0, 0.0)  # a part of no rows leaves no line behind
        axes.bar(experts, height, bottom=bottom, label=label, width=0.75, lw=edges, **style)
    axes.axhline(capacity, color="black", ls="--", lw=1.2)
    beside = axes.get_yaxis_transform()  # x in widths of the panel, y in rows
    axes.annotate(f"C = {capacity}", (1.01, capacity), xycoords=beside, va="center")
    most = max(counts.max(), capacity)
    axes.set(xlabel="expert", ylabel="rows", xticks=experts, ylim=(0, 1.06 * most))
    drawing.legend(loc="outside upper center", ncols=3, fontsize=9, frameon=False)
    return drawing


def signature(
    n_experts: Sequence[int],
    seconds: Mapping[str, Any],
    work: Mapping[str, Any],
    lost: Any,
    dropped: Mapping[str, Any],
) -> Figure:
    """Draw the figure of chapter 04: cost of five dispatchers, and drops by batch position.

    `seconds` and `work` give, by dispatcher, one value per entry of `n_experts`; `work` is FLOPs
    over needed FLOPs. `lost` (R, S) is the share of each token's choices that was dropped, R
    texts by S positions. `dropped` gives, by policy, an array (seeds, R) of dropped shares.
    """
    drawing, axes = figure(10.5, 6.4, nrows=2, ncols=2)
    _lines(axes[0, 0], n_experts, {k: 1e3 * np.asarray(v) for k, v in seconds.items()})
    axes[0, 0].set(title="Time, forward and backward", ylabel="milliseconds (your machine)")
    _lines(axes[1, 0], n_experts, work)
    axes[1, 0].set(title="Work, counted", ylabel="FLOPs / needed FLOPs", xlabel="number of experts")
    axes[1, 0].legend(fontsize=9, ncols=2, frameon=False)
    _drop_map(drawing, axes[0, 1], np.asarray(lost))
    _drop_lines(axes[1, 1], dropped)
    return drawing


def _lines(axes: Any, n_experts: Sequence[int], series: Mapping[str, Any]) -> None:
    for i, (name, values) in enumerate(series.items()):
        # Some curves coincide by design: dashes and growing markers keep both visible.
        style = {"ls": ("-", "--", ":")[i % 3], "marker": MARKERS[i], "ms": 8 - 0.8 * i}
        axes.plot(n_experts, values, label=name, color=colours(i + 1)[i], mfc="none", **style)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(n_experts)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _drop_map(drawing: Figure, axes: Any, lost: np.ndarray) -> None:
    image = axes.imshow(lost, aspect="auto", cmap=_LOST_MAP, vmin=0, vmax=1, interpolation="none")
    bar = drawing.colorbar(image, ax=axes, ticks=[0, 0.5, 1])
    bar.set_label("share of its choices lost")
    axes.set(title="One batch, first come first served", ylabel="text of the batch")
    axes.set_xlabel("position in the text")


def _drop_lines(axes: Any, dropped: Mapping[str, Any]) -> None:
    for i, (policy, shares) in enumerate(dropped.items()):
        shares = np.asarray(shares)
        rows, shade = np.arange(shares.shape[1]), colours(i + 1)[i]
        axes.fill_between(rows, shares.min(0), shares.max(0), color=shade, alpha=0.15, lw=0)
        style = {"marker": MARKERS[i], "ms": 4, "ls": ("-", "--", ":")[i % 3]}
        axes.plot(rows, shares.mean(0), color=shade, label=policy, **style)
    n_seeds = np.asarray(next(iter(dropped.values()))).shape[0]
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(title=f"Dropped, by text (band: {n_seeds} seeds)", xlabel="text of the batch")
    axes.set(ylabel="choices dropped", ylim=(-0.02, None))
    axes.legend(fontsize=9, frameon=False)


WHO_GOES_WHERE = (
    "Two tables of shares, four kinds of tokens by four experts, before and after training, and a "
    "list of the layer's parts with their authors. Before, every kind is spread over several "
    "experts; after, most kinds have one expert that they prefer."
)


def who_goes_where(before: Any, after: Any, authors: Mapping[str, str]) -> Figure:
    """Draw who goes to which expert before and after training, and who wrote each part.

    `before` and `after` (kinds, E) hold the share of each kind's choices on each expert; `authors`
    maps each part of the layer to its author.
    """
    drawing, axes = figure(9.6, 3.2, ncols=3, width_ratios=(1, 1, 0.8))
    for panel, title, table in zip(axes, ("before", "after"), (before, after), strict=False):
        shares = np.asarray(table)
        panel.imshow(shares, cmap=_LOST_MAP, vmin=0, vmax=1, aspect="auto")
        for (kind, expert), share in np.ndenumerate(shares):
            ink = "black" if share > 0.55 else "white"
            panel.text(expert, kind, f"{share:.0%}", ha="center", va="center", color=ink)
        panel.set(title=f"{title} training", xlabel="expert", ylabel="kind of the token")
        panel.set(xticks=range(shares.shape[1]), yticks=range(shares.shape[0]))
    axes[2].set_axis_off()
    axes[2].set_title("written by")
    marks = {"you": "●", "the course": "○"}
    for row, (part, author) in enumerate(authors.items()):
        axes[2].text(0.1, 0.85 - 0.2 * row, f"{marks[author]}  {part}: {author}", fontsize=11)
    return drawing
