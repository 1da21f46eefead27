"""What a check found out: plain words and states, ready to be shown, stored or compared."""

from dataclasses import dataclass
from typing import Literal

State = Literal["passed", "wrong", "raised", "not attempted", "course problem"]
StageState = Literal["passed", "failed", "not reached"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one check, free of the learner's objects.

    `stages` lists every stage with its state; `stage` is the one that failed. `example` maps the
    names of the failing inputs to their descriptions. `trace` holds the learner's own frames and
    `printed` what their code printed in the failing stage.
    """

    item_id: str
    title: str
    state: State
    points: float | int
    message: str = ""
    stages: tuple[tuple[str, StageState], ...] = ()
    stage: str = ""
    expected: str = ""
    got: str = ""
    difference: str = ""
    example: tuple[tuple[str, str], ...] = ()
    trace: str = ""
    printed: str = ""
    next_step: str = ""

    @property
    def earned(self) -> float | int:
        """All points for a pass, none otherwise."""
        return self.points if self.state == "passed" else 0
