"""Signs: what a chart says in words, and what each diagnosis would make it say.

A sign reads one observation and answers in a few fixed words. A diagnosis is contradicted by the
first sign whose word it cannot explain. Nothing here needs torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from moe_teach.chapters.ch06_load_balancing.clinic.chart import Chart

_DUST = 1e-4  # a gradient this far below a healthy one is rounding
_HEALTHY_GRADIENT = 0.01  # every gradient of the examination is larger in health


@dataclass(frozen=True)
class Sign:
    """One question to a chart: its panel, and how the answer is read off."""

    panel: int
    asks: str
    read: Callable[[Chart], str]


def _even(chart: Chart) -> str:
    one, two, four = chart.even
    if max(abs(one - 1), abs(two - 1), abs(four - 1)) < 0.01:
        return "1, 1 and 1"
    return f"{one:.0f}, {two:.0f} and {four:.0f}"


def _crowd(chart: Chart) -> str:
    return (
        "above its even value" if chart.crowd > 1.2 * chart.even[1] else "not above its even value"
    )


def _second(chart: Chart) -> str:
    return (
        "above its even value" if chart.second > 1.2 * chart.even[1] else "not above its even value"
    )


def _by_k(values: tuple[float, ...]) -> str:
    alive = [value > _DUST * _HEALTHY_GRADIENT for value in values]
    if all(alive):
        return "alive for every k"
    if not any(alive):
        return "0 for every k"
    return "0 at k = 1 only" if alive[1:] == [True, True] else "0 for some k"


def _arriving(chart: Chart) -> str:
    own, arriving = chart.own_gradient[1], chart.arriving[1]
    if arriving < _DUST * _HEALTHY_GRADIENT:
        return "nothing"
    if arriving > 1.5 * own:
        return "far more than was logged"
    return "as much as was logged"


def _gate_sums(chart: Chart) -> str:
    _, two, four = chart.gate_sums
    if abs(two - 1) < 0.01 and abs(four - 1) < 0.01:
        return "1"
    return "less than 1"


def _gate_moves(chart: Chart) -> str:
    return "stays" if max(chart.gate_moves) < 1e-5 else "moves"


def _bias_step(chart: Chart) -> str:
    busy, idle = chart.bias_step[0], chart.bias_step[-1]
    if busy == idle == 0:
        return "does not move"
    return "goes down" if busy < idle else "goes up"


def _twice(chart: Chart) -> str:
    if chart.other_experts > 0:
        return "other experts answer"
    return "the same" if chart.other_output < 1e-6 else "the same experts say something else"


def _company(chart: Chart) -> str:
    early = len(chart.company) // 8
    changed = [change > 1e-3 for change in chart.company]
    if not any(changed):
        return "no token"
    return "late tokens only" if not any(changed[:early]) else "tokens anywhere in the batch"


def _silent(chart: Chart) -> str:
    if chart.silent < 1e-6:
        return "nothing"
    return "the input itself" if chart.likeness > 0.999 else "something that is not the input"


def _load(chart: Chart) -> str:
    return "even" if chart.violation < 0.65 else "uneven"


SIGNS = {
    "even": Sign(2, "the loss logged for even routing at k = 1, 2, 4 is", _even),
    "crowd": Sign(2, "the loss logged for a crowd at two experts is", _crowd),
    "second": Sign(2, "the loss logged for a crowd of second choices is", _second),
    "task": Sign(
        3, "the task's gradient on the router is", lambda chart: _by_k(chart.task_gradient)
    ),
    "own": Sign(
        3,
        "the logged loss's own gradient on the router is",
        lambda chart: _by_k(chart.own_gradient),
    ),
    "arriving": Sign(3, "what arrives of the balance loss is", _arriving),
    "sum": Sign(4, "for k = 2 and 4 the gates of a token sum to", _gate_sums),
    "shift": Sign(4, "when all biases rise together, a gate", _gate_moves),
    "bias": Sign(5, "after one crowded batch, the bias of a busy expert", _bias_step),
    "twice": Sign(6, "in the second evaluation of the same tokens", _twice),
    "company": Sign(7, "other answers than alone are given, in a batch, to", _company),
    "silent": Sign(8, "with every routed expert silenced, out comes", _silent),
    "load": Sign(1, "the load at the end of training is", _load),
}


def read(chart: Chart) -> dict[str, str]:
    """Read every sign off a chart."""
    return {name: sign.read(chart) for name, sign in SIGNS.items()}
