"""Figures about real models: sentences left out, nats lost, and how a file lays out an expert."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moe_teach.plots.style import FAINT, HATCHES, INK, MARKERS, PALETTE, described, figure

Number = float | int
FLOOR = 1e-8  # an error of exactly zero is drawn here


def sentences(
    rows: Sequence[tuple[str, str, Number, Number]], control: tuple[str, str, Number] | None = None
) -> Figure:
    """Draw one row for each architecture: the error of the whole rule, and without one sentence.

    `rows` hold the architecture, the sentence, and both errors as shares of the largest output;
    `control` is another way to say a rule that should be the same, and its error.
    """
    drawing, axes = figure(9.4, 0.36 * (len(rows) + bool(control)) + 1.5)
    for row, (_, _, whole, without) in enumerate(rows):
        whole, without = max(whole, FLOOR), max(without, FLOOR)
        axes.plot([whole, without], [row, row], color=FAINT, linewidth=1.5)
        told = ("the whole rule", "one sentence left out") if row == 0 else (None, None)
        axes.plot(whole, row, "o", color=PALETTE[0], markersize=7, label=told[0])
        axes.plot(without, row, "D", color=PALETTE[3], markersize=7, label=told[1])
    names = [f"{name}: {sentence}" for name, sentence, *_ in rows]
    if control:
        name, sentence, error = control
        style = {"color": PALETTE[2], "markerfacecolor": "none", "markersize": 8}
        axes.plot(max(error, FLOOR), len(rows), "s", label="another sentence, same rule", **style)
        names.append(f"{name}: {sentence}")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="x")
    axes.set(
        xlim=(FLOOR / 2, 20),
        xlabel="largest difference from the published block, as a share of its largest output",
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.3, -1.1 / len(names) - 0.08), ncols=3)
    told = "; ".join(f"{n}, without “{s}”, {wrong:.0e}" for n, s, _, wrong in rows)
    worst = max(whole for _, _, whole, _ in rows)
    return described(
        drawing,
        f"Errors on a log scale. With the whole rule at most {worst:.0e} everywhere. {told}.",
    )


def nats(
    lost: Mapping[str, Mapping[str, Number]], knows: Number, control: str | None = None
) -> Figure:
    """Draw the nats that each mistake costs on text, one mark for each domain, on a log scale.

    `lost` holds nats by domain for each mistake; `knows` are the nats by which the model is better
    than knowing nothing; `control` names the row that is no mistake. Costs below a thousandth of a
    nat are drawn at the edge.
    """
    drawing, axes = figure(9.0, 0.36 * len(lost) + 1.6)
    edge = 5e-4
    domains = list(next(iter(lost.values())))
    for place, domain in enumerate(domains):
        values = [max(costs[domain], edge) for costs in lost.values()]
        hollow = {"markerfacecolor": "none"} if place % 2 else {}
        axes.plot(
            values,
            range(len(lost)),
            MARKERS[place],
            color=PALETTE[place],
            markersize=6,
            label=domain,
            **hollow,
        )
    axes.axvline(knows, color=INK, linewidth=1, linestyle=":", label="all that it knows")
    axes.axvspan(edge / 2, 1e-3, color=FAINT, linewidth=0)
    names = [f"{name} (no mistake)" if name == control else name for name in lost]
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set(xlim=(edge / 2, 12), ylim=(len(lost) - 0.5, -0.5))
    axes.grid(axis="x")
    axes.set_xlabel("nats lost per token (grey: less than a thousandth, or gained)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.35, -1.1 / len(lost) - 0.08), ncols=5,
                fontsize=9)  # fmt: skip
    told = ", ".join(f"{name} {sum(c.values()) / len(c):.3f}" for name, c in lost.items())
    return described(drawing, f"Nats lost per token, means of {len(domains)} domains: {told}.")


def layouts(files: Mapping[str, Sequence[str]]) -> Figure:
    """Draw how one expert's gate and up vectors lie in each file.

    `files` holds for each layout the vectors in the order in which they lie, as "gate 0", "up 0",
    ...; those of "a | b" are two tensors.
    """
    drawing, axes = figure(9.4, 0.62 * len(files) + 0.9)
    for row, vectors in enumerate(files.values()):
        at = 0.0
        for vector in vectors:
            if vector == "|":
                at += 0.5
                continue
            _draw_vector(axes, at, row, vector)
            at += 1
    width = max(len(vectors) for vectors in files.values())
    axes.set(xlim=(-0.3, width + 0.3), ylim=(len(files) - 0.35, -0.65), xticks=[])
    axes.set_yticks(range(len(files)), list(files), fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    told = "; ".join(f"{name}: {', '.join(vectors)}" for name, vectors in files.items())
    return described(drawing, f"The order of gate and up vectors in the files. {told}.")


def _draw_vector(axes: Axes, at: float, row: int, vector: str) -> None:
    kind, number = vector.split()
    is_gate = kind == "gate"
    style = {
        "facecolor": PALETTE[5] if is_gate else PALETTE[1],
        "hatch": HATCHES[0] if is_gate else HATCHES[1],
        "edgecolor": "#505050",
    }
    axes.add_patch(Rectangle((at, row - 0.3), 0.92, 0.6, linewidth=0.8, **style))
    label = f"{'g' if is_gate else 'u'}{number}"
    patch = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
    axes.text(at + 0.46, row, label, ha="center", va="center", fontsize=9, color="#202020",
              bbox=patch)  # fmt: skip
