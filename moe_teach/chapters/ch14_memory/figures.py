"""The figures of lesson 14: hits by load and policy, experts awake, guesses, bits, speed."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moe_teach.plots.style import FAINT, HATCHES, INK, MARKERS, PALETTE, described, figure

Numbers = Sequence[float] | Sequence[int] | np.ndarray


def by_load(rates: Mapping[str, Mapping[str, Numbers]], share: float, label: str) -> Figure:
    """Draw hit rates: a column for each load, a mark for each policy, small dots for texts.

    `rates` holds a list of texts for each load, by policy; a policy may lack a load. `share` is
    the share of the experts that fits into memory.
    """
    loads = list(dict.fromkeys(load for own in rates.values() for load in own))
    drawing, axes = figure(9.2, 4.0)
    for i, (policy, own) in enumerate(rates.items()):
        style = {"color": PALETTE[i % 7], "linestyle": "none"}
        places = [loads.index(load) + 0.72 * (i + 0.5) / len(rates) - 0.36 for load in own]
        for place, texts in zip(places, own.values(), strict=True):
            axes.plot([place] * len(texts), texts, marker=".", markersize=4, alpha=0.5, **style)
        means = [float(np.mean(texts)) for texts in own.values()]
        axes.plot(places, means, marker=MARKERS[i], markersize=8, label=policy, **style)
    axes.axhline(share, color=INK, linewidth=1, linestyle=":")
    axes.text(-0.49, share - 0.015, "share that fits", color=INK, fontsize=8, va="top")
    for border in range(1, len(loads)):
        axes.axvline(border - 0.5, color=FAINT, linewidth=0.8)
    axes.set(ylabel=label, xlim=(-0.5, len(loads) - 0.5), ylim=(0, 1), xlabel="who is reading")
    axes.set_xticks(range(len(loads)), loads)
    drawing.legend(loc="outside upper center", ncols=len(rates), fontsize=9)
    said = "; ".join(f"{policy}: {_means(own)}" for policy, own in rates.items())
    return described(drawing, f"{label}, means over texts; {share:.0%} of the experts fit. {said}.")


def _means(own: Mapping[str, Numbers]) -> str:
    return ", ".join(f"{load} {np.mean(texts):.2f}" for load, texts in own.items())


def awake(tokens: Numbers, counts: Mapping[str, Numbers], n_experts: int, formula: str) -> Figure:
    """Draw how many experts of a layer some tokens have woken; `formula` is drawn without marks."""
    drawing, axes = figure(7.4, 3.6)
    for i, (name, values) in enumerate(counts.items()):
        style = {"color": INK, "linestyle": ":"} if name == formula else {"marker": MARKERS[i]}
        axes.plot(tokens, values, label=name, **({"color": PALETTE[i]} | style))
    axes.axhline(n_experts, color=INK, linewidth=1)
    axes.set(xscale="log", xlabel="tokens read", ylabel=f"experts woken, of {n_experts} in a layer")
    axes.set_xticks(tokens, [str(n) for n in tokens])
    axes.minorticks_off()
    axes.legend(fontsize=9)
    ends = "; ".join(f"{name} {values[-1]:.1f}" for name, values in counts.items())
    return described(drawing, f"Experts of a layer woken after {tokens[-1]} tokens: {ends}.")


def guessed(recalls: Mapping[str, Numbers], chance: float) -> Figure:
    """Draw the share of a layer's choices that was guessed, layer by layer, for each way."""
    drawing, axes = figure(7.4, 3.4)
    n_layers = len(next(iter(recalls.values())))
    wide = 0.8 / len(recalls)
    for i, (way, shares) in enumerate(recalls.items()):
        places = np.arange(n_layers) + (i - (len(recalls) - 1) / 2) * wide
        axes.bar(places, shares, 0.92 * wide, label=way, color=PALETTE[i], hatch=HATCHES[i],
                 edgecolor="white")  # fmt: skip
    axes.axhline(chance, color=INK, linewidth=1, linestyle=":", label="chance")
    axes.set(ylabel="share of its choices guessed", xlabel="layer that is guessed", ylim=(0, 1))
    axes.set_xticks(range(n_layers), [str(layer + 1) for layer in range(n_layers)])
    axes.legend(fontsize=9, ncols=2, loc="upper left")
    said = "; ".join(
        f"{way} {', '.join(f'{share:.2f}' for share in shares)}" for way, shares in recalls.items()
    )
    return described(drawing, f"Share of the choices of layers 1 to {n_layers} guessed: {said}.")


def speed(rates: Numbers, speeds: Mapping[str, Numbers], measured: Mapping[str, float]) -> Figure:
    """Draw the most tokens a second against the hit rate, with hit rates to compare with."""
    drawing, axes = figure(7.6, 3.8)
    for i, (name, values) in enumerate(speeds.items()):
        mark = {"marker": MARKERS[i], "markevery": len(values) // 6}
        axes.plot(rates, values, label=name, color=PALETTE[i], **mark)
    for i, (name, rate) in enumerate(measured.items()):
        axes.axvline(rate, color=INK, linewidth=1, linestyle=(":", "--")[i % 2])
        axes.text(rate, 0.03 + 0.1 * i, f" {name}", color=INK, fontsize=8,
                  transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set(yscale="log", xlabel="share of the requests found in memory",
             ylabel="tokens a second, at most")  # fmt: skip
    handles, labels = axes.get_legend_handles_labels()
    handles.append(Line2D([], [], color=INK, linewidth=1, linestyle=":"))
    axes.legend(handles, [*labels, "hit rates of this lesson"], fontsize=9)
    said = "; ".join(
        f"{name} from {values[0]:.3g} without hits to {values[-1]:.3g} with all"
        for name, values in speeds.items()
    )
    return described(drawing, f"Most tokens a second by hit rate: {said}.")
