"""The figures of lesson 11: who works for whom, bits over layers, damage, drops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moe_teach.plots.style import FAINT, HATCHES, INK, MARKERS, PALETTE, described, figure

Numbers = Sequence[float | int] | np.ndarray
Table = Sequence[Sequence[float | int]] | np.ndarray


@dataclass(frozen=True)
class Bits:
    """One row of the figure over layers: (seeds, layers) of stored runs, and the reader's own."""

    seeds: Table
    own: Numbers | None = None


def workers(shares: Table, domains: Sequence[str], title: str) -> Figure:
    """Draw for each expert whose tokens it works on: (E, D) counts, a bar for each expert.

    Experts are sorted by the domain that they serve most.
    """
    table = np.asarray(shares, dtype=float)
    parts = table / table.sum(axis=1, keepdims=True).clip(min=1)
    order = sorted(range(len(parts)), key=lambda e: (parts[e].argmax(), -parts[e].max()))
    drawing, axes = figure(8.6, 3.4)
    below = np.zeros(len(parts))
    for i, domain in enumerate(domains):
        axes.bar(range(len(parts)), parts[order, i], 0.85, below, label=domain, color=PALETTE[i],
                 hatch=HATCHES[i], edgecolor="white")  # fmt: skip
        below += parts[order, i]
    axes.axhline(1 / len(domains), color=INK, linewidth=1, linestyle=":")
    axes.set(xlabel="expert", ylabel="share of its work", ylim=(0, 1), title=title)
    axes.set_xticks(range(len(parts)), [str(e) for e in order])
    drawing.legend(loc="outside upper center", ncols=len(domains), fontsize=9)
    said = ", ".join(f"expert {e} {domains[int(parts[e].argmax())]} {parts[e].max():.0%}"
                     for e in order)  # fmt: skip
    return described(drawing, f"{title}: the domain each expert serves most: {said}.")


def over_layers(rows: Mapping[str, Bits], label: str) -> Figure:
    """Draw bits over layers: bands are the range over seeds, lines their medians.

    The reader's own run is a dashed line of the same colour.
    """
    drawing, axes = figure(8.2, 4.2)
    for i, (name, row) in enumerate(rows.items()):
        table = np.asarray(row.seeds, dtype=float)
        places = np.arange(table.shape[1])
        axes.fill_between(places, table.min(0), table.max(0), color=PALETTE[i], alpha=0.25, lw=0)
        axes.plot(places, np.median(table, 0), MARKERS[i] + "-", color=PALETTE[i], label=name)
        if row.own is not None:
            axes.plot(places, row.own, "--", color=PALETTE[i], linewidth=1.2)
    axes.set(xlabel="layer", ylabel=label, ylim=(0, None))
    axes.set_xticks(places)
    handles, _ = axes.get_legend_handles_labels()
    handles.append(Line2D([], [], color=INK, linestyle="--", linewidth=1.2, label="your run"))
    drawing.legend(handles=handles, loc="outside right upper", fontsize=9)
    said = "; ".join(
        f"{name}: {', '.join(f'{x:.2f}' for x in np.median(np.asarray(row.seeds, float), 0))}"
        for name, row in rows.items()
    )
    return described(drawing, f"{label} by layer, medians over stored seeds. {said}.")


def use_and_need(load: Table, damage: Table) -> Figure:
    """Draw damage against load for every expert; (L, E) both, a mark for each layer."""
    drawing, axes = figure(7.4, 3.8)
    use, need = np.asarray(load, dtype=float), np.asarray(damage, dtype=float)
    for layer, (x, y) in enumerate(zip(use, need, strict=True)):
        axes.plot(x, y, MARKERS[layer], color=PALETTE[layer], label=f"layer {layer}", alpha=0.8)
    axes.axvline(1 / use.shape[1], color=FAINT, linewidth=1)
    axes.axhline(0, color=FAINT, linewidth=1)
    axes.set(xlabel="share of the layer's choices", ylabel="damage: nats, mean of the domains")
    axes.legend(fontsize=9)
    said = "; ".join(
        f"layer {layer}: busiest {x.argmax()}, most needed {y.argmax()} with {y.max():.3f} nats"
        for layer, (x, y) in enumerate(zip(use, need, strict=True))
    )
    return described(drawing, f"Damage of taking an expert away against its load. {said}.")


def turned_away(drops: Mapping[str, Table], domains: Sequence[str], own: Numbers) -> Figure:
    """Draw the share of dropped choices: a group for each domain, a bar for each training.

    `drops` holds (seeds, D) for each training; small marks are seeds. `own` is the reader's run,
    drawn over the first.
    """
    drawing, axes = figure(8.2, 3.8)
    wide = 0.8 / len(drops)
    for i, (name, seeds) in enumerate(drops.items()):
        table = np.asarray(seeds, dtype=float)
        places = np.arange(len(domains)) + (i - (len(drops) - 1) / 2) * wide
        axes.bar(places, table.mean(0), 0.92 * wide, label=name, color=PALETTE[i],
                 hatch=HATCHES[i], edgecolor="white")  # fmt: skip
        for row in table:
            axes.plot(places, row, ".", color=INK, markersize=5)
        if i == 0:
            axes.plot(places, own, "*", color=INK, markersize=10, label="your run")
    axes.set(ylabel="share of its choices dropped", ylim=(0, 1))
    axes.set_xticks(range(len(domains)), list(domains))
    axes.legend(fontsize=9, loc="upper left")
    said = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{domain} {x:.2f}"
            for domain, x in zip(domains, np.mean(np.asarray(seeds, float), 0), strict=True)
        )
        for name, seeds in drops.items()
    )
    return described(drawing, f"Share of choices dropped, means over seeds. {said}.")
