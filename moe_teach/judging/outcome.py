"""What a check found out: plain words and states, ready to be shown, stored or compared."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["passed", "wrong", "raised", "not attempted", "course problem"]
StageState = Literal["passed", "failed", "not reached"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one check, free of the learner's objects.

    `message` says what was seen, `cause` what it most likely comes from, `cure` what to do; who
    shows them decides how many. `earned` is what counts of `points`. `stages` lists every stage
    with its state; `stage` is the one that failed. `example` maps the names of the failing inputs
    to their descriptions. `trace` holds the learner's own frames and `printed` what their code
    printed in the failing stage. `measured` is the figure that a valid answer to an open task
    reached, whether or not it is good enough.
    """

    item_id: str
    title: str
    state: State
    points: float | int
    earned: float | int = 0
    message: str = ""
    cause: str = ""
    cure: str = ""
    stages: tuple[tuple[str, StageState], ...] = ()
    stage: str = ""
    expected: str = ""
    got: str = ""
    difference: str = ""
    example: tuple[tuple[str, str], ...] = ()
    trace: str = ""
    printed: str = ""
    next_step: str = ""
    measured: float | int | None = None

    def to_json(self) -> str:
        """Write everything as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Read what `to_json` wrote."""
        facts = json.loads(text)
        pairs = {name: tuple(map(tuple, facts[name])) for name in ("stages", "example")}
        return cls(**facts | pairs)
