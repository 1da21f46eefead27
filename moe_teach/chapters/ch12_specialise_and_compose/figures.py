"""The figures of lesson 12: losses by domain and content of a slot, and gain against harm."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from moe_teach.plots.horizons import Curves, over_lengths
from moe_teach.plots.style import HATCHES, INK, MARKERS, PALETTE, described, figure

Numbers = Sequence[float]


def by_domain(losses: Mapping[str, Mapping[str, Numbers]], label: str) -> Figure:
    """Draw bars: a group for each domain, a bar for each state, dots for seeds.

    `losses` holds a list of seeds for each domain, by state; all states have the same domains.
    """
    domains = list(next(iter(losses.values())))
    drawing, axes = figure(9.0, 3.9)
    width = 0.8 / len(losses)
    for i, (state, own) in enumerate(losses.items()):
        places = np.arange(len(domains)) + (i + 0.5) * width - 0.4
        heights = [float(np.mean(own[domain])) for domain in domains]
        style = {"color": PALETTE[i % 7], "hatch": HATCHES[i % 8], "edgecolor": "white"}
        axes.bar(places, heights, width, label=state, alpha=0.8, **style)
        for place, domain in zip(places, domains, strict=True):
            if len(own[domain]) > 1:
                axes.plot([place] * len(own[domain]), own[domain], ".", color=INK, markersize=4)
    axes.set(ylabel=label)
    axes.set_xticks(range(len(domains)), domains)
    drawing.legend(loc="outside upper center", ncols=min(4, len(losses)), fontsize=9)
    said = "; ".join(f"{state}: {_means(own)}" for state, own in losses.items())
    return described(drawing, f"{label} by domain. {said}.")


def _means(own: Mapping[str, Numbers]) -> str:
    return ", ".join(f"{domain} {np.mean(seeds):.2f}" for domain, seeds in own.items())


def gain_and_harm(points: Mapping[str, tuple[Numbers, Numbers]]) -> Figure:
    """Draw a mark for each seed of each way: harm to the old domains, loss on the new skill.

    `points` holds two lists for each way, in the order of its seeds.
    """
    drawing, axes = figure(7.6, 4.0)
    for i, (name, (harms, losses)) in enumerate(points.items()):
        style = {"color": PALETTE[i % 7], "marker": MARKERS[i % 8], "linestyle": "none"}
        axes.plot(harms, losses, label=name, alpha=0.8, markersize=7, **style)
    axes.set(xlabel="old domains, mean increase (nats a token)", ylabel="new skill (nats a token)")
    axes.set_xscale("symlog", linthresh=0.1)
    drawing.legend(loc="outside right upper", fontsize=9)
    said = "; ".join(
        f"{name}: old domains {np.mean(harms):+.2f}, new skill {np.mean(losses):.2f}"
        for name, (harms, losses) in points.items()
    )
    return described(drawing, f"Harm to the old domains against the new skill. {said}.")


def at_lengths(lengths: Sequence[int], panels: Mapping[str, Curves]) -> Figure:
    """Draw a panel for each label, and say the means of all curves at the longest length."""
    said = "; ".join(
        f"{label}: " + ", ".join(f"{name} {np.mean(own[-1]):.2f}" for name, own in curves.items())
        for label, curves in panels.items()
    )
    return described(over_lengths(lengths, panels), f"At {lengths[-1]} steps, means. {said}.")
