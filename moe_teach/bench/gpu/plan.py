"""Which steps fit into the time that is left, in the order of their value."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from moe_teach.bench.gpu.record import Record
from moe_teach.bench.gpu.step import Step


def groups(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Cut the list where steps that may run side by side begin and end."""
    for _, group in groupby(steps, key=lambda step: step.together):
        yield list(group)


def is_due(step: Step, record: Record) -> bool:
    """Tell whether a step is to be done if there is time."""
    return step.is_possible and not (step.lasts and record.is_settled(step))


def still_due(steps: Sequence[Step], record: Record) -> list[Step]:
    """Give what is to be done; preparing is worth it only while something else is."""
    due = [step for step in steps if is_due(step, record)]
    return due if any(step.lasts for step in due) else []


def left_out(steps: Sequence[Step], record: Record, seconds_left: float) -> list[dict[str, str]]:
    """List what was not done, and why."""
    return [
        {"name": step.name, "reason": _reason(step, seconds_left)}
        for step in steps
        if record.of(step.name) is None
    ]


def _reason(step: Step, seconds_left: float) -> str:
    if not step.is_possible:
        return f"The package {step.package!r} is not installed."
    if step.seconds > seconds_left:
        return f"It takes about {step.seconds:.0f} s, and {max(0, seconds_left):.0f} s were left."
    return "It was not reached."
