"""What the command has found out so far: one JSON file, whole at every moment.

    {
      "schema": "moe-teach bench gpu", "format": 1,
      "subject": {"device": ..., "torch": ..., "triton": ..., "kernels": ..., "toy": ...},
      "device": {"name": ..., "memory_bytes": ..., ...},
      "machine": {"processor": ..., "python": ..., "torch": ..., "transformers": ..., ...},
      "runs": [{"command": ..., "date": ..., "minutes": 9, "seconds": 533.1}, ...],
      "steps": [{"name": ..., "kind": ..., "verdict": ..., "problem": "", "seconds": 12.3,
                 "attempts": 1, "run": 0, "rows": [...]}, ...],
      "left_out": [{"name": ..., "reason": ...}, ...]
    }

Times are in seconds; a "ratio" is to the limit of the same round, a share is of that limit.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moe_teach.bench.gpu.step import Kind, Row, Step, Verdict
from moe_teach.config import refuse
from moe_teach.files import write_atomically

SCHEMA, FORMAT = "moe-teach bench gpu", 1
FILE = "gpu.json"
MOST_ATTEMPTS = 2  # a step that takes the machine down with it must not do so for ever


@dataclass
class Done:
    """What is known of one step that was begun."""

    name: str
    kind: Kind
    verdict: Verdict = "cut"  # true if nothing more is ever written
    problem: str = "It was running when the command was stopped."
    seconds: float = 0.0
    attempts: int = 1
    run: int = 0  # which of the record's runs did it
    rows: list[Row] = field(default_factory=list)


@dataclass
class Record:
    """Everything that is known, in the order in which it was asked."""

    subject: dict[str, Any] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    steps: list[Done] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def of(self, name: str) -> Done | None:
        """Give what is known of a step."""
        return next((done for done in self.steps if done.name == name), None)

    def is_settled(self, step: Step) -> bool:
        """Tell whether a step needs no further attempt."""
        done = self.of(step.name)
        return done is not None and (done.verdict != "cut" or done.attempts >= MOST_ATTEMPTS)

    def begin(self, step: Step) -> Done:
        """Enter a step as begun; what an earlier attempt has left is replaced."""
        before = self.of(step.name)
        attempts = before.attempts + 1 if before and before.verdict == "cut" else 1
        self.steps = [done for done in self.steps if done is not before]
        done = Done(step.name, step.kind, attempts=attempts, run=len(self.runs) - 1)
        self.steps.append(done)
        return done

    def rows(self, kind: Kind) -> list[Row]:
        """Give the rows of all steps of a kind."""
        return [row for done in self.steps if done.kind == kind for row in done.rows]

    def write(self, folder: Path) -> None:
        """Write the file, so that a kill leaves the old one or the new."""
        content = {"schema": SCHEMA, "format": FORMAT, **asdict(_rounded(self))}
        text = json.dumps(content, indent=1, allow_nan=False)
        write_atomically(folder / FILE, text.encode())


def _rounded(record: Record) -> Record:
    """Round numbers to six digits; JSON has no words for what is infinite or not a number."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        if isinstance(value, float):
            finite = abs(value) < float("inf")
            return float(f"{value:.6g}") if finite else str(value)
        return value

    facts = {name: plain(value) for name, value in vars(record).items() if name != "steps"}
    steps = [Done(**{name: plain(value) for name, value in vars(d).items()}) for d in record.steps]
    return Record(**facts, steps=steps)


def read(folder: Path) -> Record:
    """Read a folder's record; an empty one where there is no file.

    Raises:
        ValueError: if the file is not such a record, or one of another format.
    """
    path = folder / FILE
    if not path.exists():
        return Record()
    try:
        content = json.loads(path.read_text())
        schema, number = content.pop("schema"), content.pop("format")
        refuse(
            (schema, number) != (SCHEMA, FORMAT),
            f"{path} is written in the format {number!r} of {schema!r}, but this version reads "
            f"{FORMAT} of {SCHEMA!r}: name another folder with --out.",
        )
        steps = [Done(**done) for done in content.pop("steps")]
        return Record(**content, steps=steps)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as problem:
        raise ValueError(
            f"{path} is not a record of 'moe-teach bench gpu' ({problem!r}): name another folder "
            "with --out, or remove the file."
        ) from problem


def fingerprint() -> str:
    """Name the state of the code that is measured: the operations and the layer."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(p for room in ("ops", "nn") for p in (package / room).rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def demand_same(record: Record, subject: dict[str, Any]) -> None:
    """Refuse to mix measurements of different things in one file.

    Raises:
        ValueError: with what is different, and what to do.
    """
    changed = [
        f"{key} was {was} and is {subject.get(key)}"
        for key, was in record.subject.items()
        if was != subject.get(key)
    ]
    refuse(
        bool(changed),
        f"The folder holds measurements of something else ({'; '.join(changed)}): name another "
        "one with --out, or begin it again with --anew.",
    )
