"""Which tensors on disk hold which tensor of ours, for one model."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from moe_teach.checkpoint.layouts.layout import Layout, Rule

# Our tensors that no evaluation reads, or that a layout without them takes for zero.
LEFT_OUT = ("router.noise_proj.weight", "router.expert_bias")


@dataclass(frozen=True)
class Place:
    """One tensor of ours and where it stands on disk: one name, or one for each expert."""

    ours: str
    theirs: tuple[str, ...]
    rule: Rule
    shape: tuple[int, ...]  # of ours

    @property
    def is_split(self) -> bool:
        """Whether each expert has a tensor of its own on disk."""
        return "{expert}" in self.rule.theirs

    @property
    def shape_on_disk(self) -> tuple[int, ...]:
        """The shape of each tensor on disk."""
        return self.shape[1:] if self.is_split else self.rule.change.shape(self.shape)


def places_of(layout: Layout, tensors: Iterable[tuple[str, tuple[int, ...]]]) -> list[Place]:
    """Return the place of every tensor of ours, in our order.

    Args:
        layout: whose names are wanted.
        tensors: names of ours with their shapes.

    Raises:
        KeyError: the layout has no place for a tensor; the guard has told why before.
    """
    rules = [(_pattern(rule.ours), rule) for rule in layout.rules]
    found = []
    for ours, shape in tensors:
        for pattern, rule in rules:
            if (match := pattern.fullmatch(ours)) is not None:
                found.append(Place(ours, _theirs(rule, match.groupdict(), shape), rule, shape))
                break
        else:
            if not ours.endswith(LEFT_OUT):
                raise KeyError(f"{layout.title} has no place for {ours}.")
    return found


def _pattern(ours: str) -> re.Pattern[str]:
    return re.compile(re.escape(ours).replace(r"\{layer\}", r"(?P<layer>\d+)"))


def _theirs(rule: Rule, numbers: dict[str, str], shape: tuple[int, ...]) -> tuple[str, ...]:
    if "{expert}" not in rule.theirs:
        return (rule.theirs.format(**numbers),)
    return tuple(rule.theirs.format(expert=expert, **numbers) for expert in range(shape[0]))
