"""The figure of the longer runs: three models at 1, 3 and 10 times the lesson's length."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from moe_teach.plots.horizons import over_lengths
from moe_teach.plots.style import described
from moe_teach.train.experiment import Grid
from moe_teach.train.horizons import at_length


def how_it_lasts(longer: Grid, names: Sequence[str], lengths: Sequence[int]) -> Figure:
    """Draw the validation loss of each model after schedules of several lengths, seed by seed."""
    curves = {
        name: [longer.column(at_length(name, steps), "loss") for steps in lengths] for name in names
    }
    drawing = over_lengths(lengths, {"validation loss (nats per byte)": curves})
    said = "; ".join(
        f"{name}: {', '.join(f'{sum(seeds) / len(seeds):.2f}' for seeds in values)}"
        for name, values in curves.items()
    )
    steps = ", ".join(f"{length:,}" for length in lengths)
    return described(drawing, f"Mean validation loss after {steps} steps. {said}.")
