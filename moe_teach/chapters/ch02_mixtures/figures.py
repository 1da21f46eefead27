"""Figures about mixtures of experts in the plane: painted squares, regions, errors, scores.

Maps are square arrays whose first row is the lower edge of the plane. Numbers of several seeds are
drawn as the median with the range around it, or as one mark per seed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from moe_teach.plots.horizons import over_lengths
from moe_teach.plots.style import FAINT, INK, MARKERS, PALETTE, described, figure

_EXTENT = (-1.0, 1.0, -1.0, 1.0)
_NOBODY = "#BBBBBB"
_BySeed = Mapping[str, Sequence[Sequence[float]]]  # error -> length -> one number for each seed
_ON_A_MAP = "#111111"  # borders and labels stand on pale regions, on a dark page too


def the_square(truth: np.ndarray) -> Figure:
    """Draw the square as it is."""
    return described(
        paint({"the truth": truth}),
        "A square of six patches with straight, sharp borders; inside a patch the colour changes "
        "smoothly, and each patch has colours of its own.",
    )


def surprise(truth: np.ndarray, blend: np.ndarray, alone: np.ndarray) -> Figure:
    """Draw the square as it is, as the team paints it, and as its top experts do."""
    panels = {"the truth": truth, "all 12 blended": blend, "top expert alone": alone}
    return described(
        paint(panels),
        "Three squares painted in colours. The truth is six smooth patches with sharp borders. The "
        "blend of all experts looks much like it, with soft borders; the top experts alone paint "
        "patches with other borders, and some in quite different colours.",
    )


def play(truth: np.ndarray, shown: np.ndarray, error: float, title: str) -> Figure:
    """Draw the square beside a model's painting of it."""
    panels = {"the truth": truth, f"error {error:.2f}": shown}
    return described(paint(panels), f"The true square beside the one painted with {title}.")


def paint(panels: Mapping[str, np.ndarray]) -> Figure:
    """Draw colour pictures side by side: title -> (H, W, 3), values beyond 0 to 1 are clipped."""
    drawing, axes = figure(2.7 * len(panels), 3.1, ncols=len(panels), squeeze=False)
    for ax, (title, picture) in zip(axes[0], panels.items(), strict=True):
        ax.imshow(np.clip(picture, 0, 1), origin="lower", extent=_EXTENT, interpolation="nearest")
        ax.set(title=title, xticks=[], yticks=[])
    return drawing


def regions_and_errors(
    truth: np.ndarray,
    owners: Mapping[str, tuple[np.ndarray, Sequence[int]]],
    steps: Sequence[float | int],
    scores: Mapping[str, np.ndarray],
    errors: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Figure:
    """Draw who owns which part of the square over training, and what each error led to.

    `truth` (H, W) holds the true region of every place. `owners` maps a title to the expert that
    owns every place (H, W) and, for each expert, the region it is named after. `scores` maps the
    name of an error to (n_steps, n_seeds); `errors` maps it to the error of the blend and of the
    top expert alone, one number per seed each.
    """
    drawing, axes = figure(
        11.0, 5.9, nrows=2, ncols=1 + len(owners), gridspec_kw={"height_ratios": (1, 1.25)}
    )
    maps, (left, right, *spare) = axes
    for ax in spare:
        ax.remove()
    lower = left.get_gridspec()[1, :].subgridspec(1, 2)
    for ax, half in zip((left, right), lower, strict=True):
        ax.set_subplotspec(half)
    letters = {int(region): chr(ord("A") + int(region)) for region in np.unique(truth)}
    draw_map(maps[0], truth, {region: region for region in letters}, letters)
    maps[0].set_title("the truth")
    for ax, (title, (owner, regions)) in zip(maps[1:], owners.items(), strict=True):
        draw_map(ax, owner, dict(enumerate(regions)))
        ax.set_title(title)
    draw_curves(left, steps, scores)
    left.set(xlabel="training step", ylabel="matching score", ylim=(0, 1.03))
    left.legend(handles=[*left.lines, _range()], loc="lower right", fontsize=9)
    draw_pairs(right, errors)
    return described(
        drawing,
        "Above, six true regions and the experts' regions at four training steps, which come to "
        "agree with the truth. Below, the matching score rises to 1 only for the likelihood; the "
        "top expert alone is far worse than the blend for the cooperative error, equal for the "
        "competitive one and better for the likelihood.",
    )


def longer_race(lengths: Sequence[int], alone: _BySeed, score: _BySeed) -> Figure:
    """Draw the error of the top expert alone and the matching score over the length of training."""
    label = "squared error of the top expert alone"
    return described(
        over_lengths(lengths, {label: alone, "matching score": score}, logarithmic=[label]),
        "Left: the error of the top expert alone over 400 to 6,000 steps. The likelihood is at the "
        "noise level from the start; the cooperative error falls from about 0.8 to the same level; "
        "the competitive one stays near 0.4. Right: the matching score of the cooperative error "
        "reaches 1, the level of the likelihood; the competitive one stays near 0.7.",
    )


def draw_map(
    ax: Axes,
    owner: np.ndarray,
    region_of: Mapping[int, int],
    names: Mapping[int, str] | None = None,
) -> None:
    """Colour every place of (H, W) by the region of its owner, with borders and labels.

    Owners without a name in `names` are written as their number; a region below 0 is grey.
    """
    shown = np.vectorize(lambda one: region_of.get(int(one), -1))(owner)
    palette = ListedColormap([_paled(colour) for colour in (_NOBODY, *PALETTE[:7])])
    ax.imshow(
        shown, origin="lower", extent=_EXTENT, cmap=palette, vmin=-1.5, vmax=6.5,
        interpolation="nearest",
    )  # fmt: skip
    axis = np.linspace(-1, 1, len(owner))
    for one in np.unique(owner):
        mine = owner == one
        if mine.mean() < 1:
            ax.contour(axis, axis, mine.astype(float), levels=[0.5], colors=_ON_A_MAP, linewidths=1)
        if mine.mean() > 0.01:  # a sliver has no room for a label
            row, column = _middle(mine)
            label = (names or {}).get(int(one), str(int(one)))
            style = {"ha": "center", "va": "center", "fontweight": "bold", "color": _ON_A_MAP}
            ax.text(axis[column], axis[row], label, **style)
    ax.set(xticks=[], yticks=[])


def draw_curves(ax: Axes, x: Sequence[float | int], curves: Mapping[str, np.ndarray]) -> None:
    """Draw the median over seeds of each (n_x, n_seeds) and the range as a band."""
    for i, (name, values) in enumerate(curves.items()):
        values = np.asarray(values)
        ax.plot(x, np.median(values, axis=1), color=PALETTE[i], marker=MARKERS[i], label=name)
        ax.fill_between(x, values.min(axis=1), values.max(axis=1), color=PALETTE[i], alpha=0.15)


def draw_pairs(ax: Axes, errors: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Draw the blend (left, hollow) and the top expert alone (right, filled), one line a seed."""
    for i, (blend, alone) in enumerate(errors.values()):
        for one, other in zip(blend, alone, strict=True):
            ax.plot([i - 0.22, i + 0.22], [one, other], color=FAINT, linewidth=0.8, zorder=1)
        style = {"linestyle": "none", "marker": MARKERS[i], "color": PALETTE[i], "zorder": 2}
        ax.plot(np.full(len(blend), i - 0.22), blend, markerfacecolor="none", **style)
        ax.plot(np.full(len(alone), i + 0.22), alone, **style)
    ax.set(
        yscale="log",
        ylabel="squared error on new places",
        xticks=[i + side for i in range(len(errors)) for side in (-0.22, 0.22)],
        xlim=(-0.6, len(errors) - 0.4),
    )
    ax.set_xticklabels(["blend", "top\nalone"] * len(errors), fontsize=9)
    seed = Line2D([], [], color=INK, linewidth=0.8, marker="o", label="one seed")
    ax.legend(handles=[seed], fontsize=9)
    for i, name in enumerate(errors):
        ax.text(i, 1.02, name, transform=ax.get_xaxis_transform(), ha="center")


def error_by_k(ks: Sequence[int], curves: Mapping[str, np.ndarray]) -> Figure:
    """Draw the error when only the top k experts are used: name -> (n_ks, n_seeds)."""
    drawing, ax = figure(7.0, 3.8)
    draw_curves(ax, ks, curves)
    ax.set(
        yscale="log",
        xticks=list(ks),
        xlabel="experts used for each place (k)",
        ylabel="squared error on new places",
    )
    ax.minorticks_off()
    ax.legend(handles=[*ax.lines, _range()], title="trained with", fontsize=9)
    return described(
        drawing,
        "Error against the number of experts used: the cooperative curve falls steeply from one "
        "expert to three, the competitive one is flat, the likelihood one is lowest at one expert.",
    )


def controls(scores: Mapping[str, np.ndarray]) -> Figure:
    """Draw the matching scores of the runs in which something was not allowed to learn."""
    return described(
        strips(scores, "matching score", (0, 1.03)),
        "Matching score per seed for five conditions: untrained and frozen router near one half, "
        "frozen random experts around two thirds, frozen true experts and full training near one.",
    )


def strips(
    groups: Mapping[str, np.ndarray], ylabel: str, limits: tuple[float | int, float | int]
) -> Figure:
    """Draw one mark per seed for each group, and a bar at the median."""
    drawing, ax = figure(max(5.0, 1.55 * len(groups)), 3.4)
    for i, values in enumerate(groups.values()):
        spread = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
        ax.plot(
            i + spread, values, linestyle="none", marker=MARKERS[i % len(MARKERS)],
            color=PALETTE[i % len(PALETTE)], markersize=6, alpha=0.85,
        )  # fmt: skip
        ax.hlines(np.median(values), i - 0.32, i + 0.32, color=INK, linewidth=1.5)
    marks = {"color": INK, "linestyle": "none", "marker": MARKERS[0], "markersize": 6}
    bar = Line2D([], [], color=INK, linewidth=1.5, label="median")
    drawing.legend(
        handles=[Line2D([], [], label="one seed", **marks), bar],
        loc="outside right upper", fontsize=9,
    )  # fmt: skip
    ax.set(ylabel=ylabel, ylim=limits, xticks=range(len(groups)), xlim=(-0.6, len(groups) - 0.4))
    ax.set_xticklabels(list(groups), fontsize=9)
    return drawing


def _range() -> Patch:
    return Patch(color=FAINT, label="range of the seeds")


def _paled(colour: str) -> tuple[float, ...]:
    # Mixed with white rather than transparent: on a dark page a transparent region would be dark.
    return tuple(0.65 * part + 0.35 for part in to_rgb(colour))


def _middle(mine: np.ndarray) -> tuple[int, int]:
    # The true place nearest to the mean: the mean of a bent region may lie outside it.
    rows, columns = np.nonzero(mine)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return int(rows[nearest]), int(columns[nearest])
