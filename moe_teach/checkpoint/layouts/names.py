"""Which tensors on disk hold which tensor of ours, for one model."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

from moe_teach.checkpoint.layouts.layout import Fused, Layout, Rule

# Our tensors that no evaluation reads, or that a layout without them takes for zero.
LEFT_OUT = ("router.noise_proj.weight", "router.expert_bias")


@dataclass(frozen=True)
class Window:
    """What to read of one tensor on disk, whose shape is `whole`: all of it, or some rows.

    `rows` are (expert, the first row, the one after the last).
    """

    name: str
    whole: tuple[int, ...]
    rows: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Place:
    """One tensor of ours and where it stands on disk: one name, or one for each expert.

    `also` is where it stands in files that are as transformers 5 has a model in memory.
    """

    ours: str
    theirs: tuple[str, ...]
    rule: Rule
    shape: tuple[int, ...]  # of ours
    also: tuple[Window, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether each expert has a tensor of its own on disk."""
        return "{expert}" in self.rule.theirs

    @property
    def shape_on_disk(self) -> tuple[int, ...]:
        """The shape of each tensor on disk."""
        return self.shape[1:] if self.is_split else self.rule.change.shape(self.shape)

    def windows(self, held: Container[str]) -> tuple[Window, ...]:
        """Say what to read of a checkpoint that holds tensors of these names."""
        if self.also and self.theirs[0] not in held and self.also[0].name in held:
            return self.also
        return tuple(Window(name, self.shape_on_disk) for name in self.theirs)


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
                numbers = match.groupdict()
                names, also = _theirs(rule, numbers, shape), _also(rule, numbers, shape)
                found.append(Place(ours, names, rule, shape, also))
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


def _also(rule: Rule, numbers: dict[str, str], shape: tuple[int, ...]) -> tuple[Window, ...]:
    if rule.also is None:
        return ()
    if not isinstance(rule.also, Fused):
        return (Window(rule.also.format(**numbers), rule.change.shape(shape)),)
    name, (n_experts, n_rows, n_columns) = rule.also.name.format(**numbers), shape
    whole, first = (n_experts, rule.also.n_parts * n_rows, n_columns), rule.also.part * n_rows
    return tuple(Window(name, whole, (e, first, first + n_rows)) for e in range(n_experts))
