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

from moe_teach.plots.style import HATCHES, INK, MARKERS, colours, described, figure

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
    return described(
        drawing,
        f"{chosen.size} choices in token order on the left; lines lead to the same ones, sorted by "
        "expert, on the right. Within an expert the tokens keep their order.",
    )


def _card(axes: Any, x: int, y: int, text: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.25", "facecolor": "none", "edgecolor": colour, "linewidth": 2}
    axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=box)


def buffers(tokens_per_expert: Any, capacity: int) -> Figure:
    """Draw one bar per expert: choices with a place, places that stay empty, choices without one.

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
        face = shades[look] if look == 0 else "none"
        style = {"edgecolor": shades[look], "hatch": HATCHES[look], "facecolor": face}
        edges = np.where(height > 0, 1.0, 0.0)  # a part of no rows leaves no line behind
        label = label if height.any() else None
        axes.bar(experts, height, bottom=bottom, label=label, width=0.75, lw=edges, **style)
    axes.axhline(capacity, color=INK, ls="--", lw=1.2)
    beside = axes.get_yaxis_transform()  # x in widths of the panel, y in rows
    axes.annotate(f"C = {capacity}", (1.01, capacity), xycoords=beside, va="center")
    most = max(counts.max(), capacity)
    axes.set(xlabel="expert", ylabel="rows", xticks=experts, ylim=(0, 1.06 * most))
    drawing.legend(loc="outside upper center", ncols=3, fontsize=9)
    bars = "; ".join(
        f"expert {e} uses {used[e]} places, leaves {empty[e]} empty and drops {counts[e] - used[e]}"
        for e in experts
    )
    return described(drawing, f"One bar for each expert, with {capacity} places: {bars}.")


def costs(n_experts: Sequence[int], work: Mapping[str, Any], seconds: Mapping[str, Any]) -> Figure:
    """Draw what five dispatchers cost: work, and the time that it took.

    Both give, by dispatcher, one value per entry of `n_experts`; `work` is FLOPs over needed FLOPs.
    """
    drawing, axes = figure(10.0, 3.8, ncols=2)
    _lines(axes[0], n_experts, work)
    axes[0].set(title="Work, counted", ylabel="FLOPs / needed FLOPs", xlabel="number of experts")
    _lines(axes[1], n_experts, {k: 1e3 * np.asarray(v) for k, v in seconds.items()})
    axes[1].set(title="Time, forward and backward", ylabel="milliseconds (your machine)")
    axes[1].set_xlabel("number of experts")
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    said = [
        f"{way} runs {work[way][-1]:.2f} times the needed FLOPs and takes "
        f"{1e3 * seconds[way][-1]:.1f} ms"
        for way in work
    ]
    alt = "Work and time of the dispatchers against the number of experts. With "
    return described(drawing, f"{alt}{n_experts[-1]} experts {'; '.join(said)}.")


def signature(lost: Any, dropped: Mapping[str, Any]) -> Figure:
    """Draw the figure of chapter 04: whom a capacity turns away, by the place in the batch.

    `lost` (R, S) is the share of each token's choices that was dropped, R texts by S positions.
    `dropped` gives, by policy, an array (seeds, R) of dropped shares.
    """
    drawing, axes = figure(10.0, 3.8, ncols=2)
    _drop_map(drawing, axes[0], np.asarray(lost))
    _drop_lines(axes[1], dropped)
    means = {policy: np.asarray(shares).mean(axis=0) for policy, shares in dropped.items()}
    ends = [
        f"{policy} {by_text[0]:.0%} in the first text and {by_text[-1]:.0%} in the last"
        for policy, by_text in means.items()
    ]
    alt = "A map of one batch, text by text, of who lost choices; beside it the choices dropped by "
    return described(drawing, f"{alt}text under each policy, on average: {'; '.join(ends)}.")


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
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set(title=f"Dropped, by text (band: {n_seeds} seeds)", xlabel="text of the batch")
    axes.set(ylabel="choices dropped", ylim=(-0.02, None))
    axes.legend(fontsize=9)
