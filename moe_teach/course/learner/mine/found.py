"""What was gathered for a part, and the word for what cannot be."""

from dataclasses import dataclass, field

from moe_teach.course.learner.mine.imports import Import
from moe_teach.course.learner.mine.statements import Program, Statement


class Refused(Exception):
    """Something cannot be carried over; the message says in one sentence what and why."""


@dataclass
class Gathered:
    """What was found: texts by the order they ran in, and the imports they rely on."""

    texts: dict[tuple[int, ...], str] = field(default_factory=dict)
    imports: set[Import] = field(default_factory=set)
    bound: dict[str, int] = field(default_factory=dict)  # name -> rank of the program that binds it
    statements: list[tuple[Program, Statement]] = field(default_factory=list)
