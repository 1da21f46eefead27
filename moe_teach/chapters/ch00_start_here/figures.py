"""Pictures of one routing decision: which token goes to which experts, and with what weight."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe_teach.plots.style import FAINT, INK, colours, described, figure
from moe_teach.types import Routing

_LARGEST = 950.0  # area in points squared of a gate of one
_BELOW = 17.0  # points from a disc's centre to its number: just outside the largest disc


def routing_picture(
    tokens: Sequence[str],
    routing: Routing,
    expert_names: Sequence[str] | None = None,
) -> Figure:
    """Draw tokens along the x axis and experts as rows; each choice is a disc with its gate.

    The disc's area is proportional to the gate and the number below it says the gate; a dropped
    choice (`routing.kept` is False) is an empty disc with a cross. Raises `ValueError` when the
    number of tokens or names does not fit the routing.
    """
    n_tokens, n_experts = routing.probs.shape
    names = list(expert_names or (f"expert {e}" for e in range(n_experts)))
    if len(tokens) != n_tokens or len(names) != n_experts:
        raise ValueError(
            f"The routing has {n_tokens} tokens and {n_experts} experts, but the picture was given "
            f"{len(tokens)} tokens and {len(names)} expert names."
        )
    drawing, axes = figure(max(5.0, 0.72 * n_tokens + 1.4), 0.85 * n_experts + 1.5)
    _grid(axes, tokens, names)
    for token in range(n_tokens):
        for choice in range(routing.top_k):
            kept = routing.kept is None or bool(routing.kept[token, choice])
            expert = int(routing.expert_ids[token, choice])
            gate = float(routing.gates[token, choice])
            _disc(axes, token, expert, gate, kept, colours(n_experts)[expert])
    return described(drawing, _in_words(tokens, routing, names))


def _in_words(tokens: Sequence[str], routing: Routing, names: Sequence[str]) -> str:
    chosen = (
        f"{token} to "
        + " and ".join(
            f"{names[expert]} {gate:.2f}" for expert, gate in zip(ids, gates, strict=True)
        )
        for token, ids, gates in zip(
            tokens, routing.expert_ids.tolist(), routing.gates.tolist(), strict=True
        )
    )
    return f"Tokens against experts, one disc for each choice and its gate: {'; '.join(chosen)}."


def _grid(axes: Axes, tokens: Sequence[str], names: Sequence[str]) -> None:
    axes.set_xlim(-0.6, len(tokens) - 0.4)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first expert on top
    axes.set_xticks(range(len(tokens)), tokens, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("token (in reading order)")
    axes.set_ylabel("expert")
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def _disc(axes: Axes, token: int, expert: int, gate: float, kept: bool, colour: str) -> None:
    face = colour if kept else "none"
    axes.scatter(
        [token], [expert], s=max(_LARGEST * gate, 20.0), color=face, edgecolors=colour, alpha=0.55
    )
    if not kept:
        axes.scatter([token], [expert], s=60, marker="x", color=INK)
    axes.annotate(
        "<0.01" if gate < 0.005 else f"{gate:.2f}",
        (token, expert),
        xytext=(0, -_BELOW),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8,
    )
