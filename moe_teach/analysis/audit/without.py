"""The text again without the busiest expert of each layer, and without a middling one beside it."""

from collections.abc import Callable

import torch
from torch import Tensor

from moe_teach.analysis.audit.reading import Reading
from moe_teach.analysis.audit.report import Closed, Turn
from moe_teach.analysis.audit.subjects import Subject
from moe_teach.analysis.interventions.answers import Answers, answers_of
from moe_teach.analysis.specialisation.intervals import bootstrap

TURNS, BEFORE = 6, 12  # places shown for each closed expert; tokens shown before each


def closings(
    subject: Subject,
    reading: Reading,
    loads: list[tuple[float, ...]],
    before: Answers,
    name_of: Callable[[int], str],
) -> tuple[Closed, ...]:
    """Close two experts of each layer, one at a time.

    The middling one has the median load of those that are used at all: the control that says
    whether being busy is what matters.
    """
    found = []
    for layer, load in enumerate(loads):
        order = sorted(range(len(load)), key=lambda e: (-load[e], e))
        used = [e for e in order if load[e] > 0]
        pair = {"busiest": used[0], "middling": used[len(used) // 2]}
        for kind, expert in pair.items():
            if kind == "middling" and expert == pair["busiest"]:
                continue
            with subject.without(layer, expert):
                after = answers_of(subject.answering, reading.batches())
            found.append(
                _compared(layer, expert, kind, load[expert], before, after, reading, name_of)
            )
    return tuple(found)


def _compared(
    layer: int,
    expert: int,
    kind: str,
    load: float,
    before: Answers,
    after: Answers,
    reading: Reading,
    name_of: Callable[[int], str],
) -> Closed:
    rises = after.losses.double() - before.losses.double()

    def mean(tokens: Tensor) -> float:
        return float(rises[tokens].mean())

    interval = None
    if len(reading.inputs) > 1:
        interval = bootstrap(mean, before.sequence_ids)
    changed = before.predicted != after.predicted
    return Closed(
        layer,
        expert,
        kind,
        load,
        round(float(rises.mean()), 5),
        interval,
        round(float(changed.double().mean()), 5),
        _turns(rises, changed, before, after, reading, name_of) if kind == "busiest" else (),
    )


def _turns(
    rises: Tensor,
    changed: Tensor,
    before: Answers,
    after: Answers,
    reading: Reading,
    name_of: Callable[[int], str],
) -> tuple[Turn, ...]:
    """Show where the real token lost most, and, beside them, where it gained most."""
    places = torch.nonzero(changed).flatten()
    order = places[rises[places].argsort(descending=True, stable=True)].tolist()
    picked = order if len(order) <= TURNS else order[: TURNS - 2] + order[-2:]
    pieces = reading.pieces
    return tuple(
        Turn(
            "".join(pieces[max(0, t + 1 - BEFORE) : t + 1]),
            name_of(int(before.predicted[t])),
            name_of(int(after.predicted[t])),
            pieces[t + 1],
            round(float(rises[t]), 2),
        )
        for t in picked
    )
