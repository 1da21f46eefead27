"""What training leaves behind: one record per step, kept as JSON that plots and widgets read."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moe_teach.files import write_atomically
from moe_teach.train.config import TrainConfig

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step, as seen before its update; `validation_loss` is measured after it, where asked.

    Losses are nats per token, without their factors. `loads` holds, for each MoE layer, the share
    of all choices that fell on each expert (rounded to a millionth); `max_violation` is that
    layer's busiest expert over the mean, minus 1. `tokens_per_second` and `cpu_seconds` (of all
    threads of the first process) tell about the machine and not about the run, so they take no
    part in comparisons.
    """

    step: int
    task_loss: float
    load_balance_loss: float
    z_loss: float
    lr: float
    grad_norm: float
    max_violation: tuple[float, ...]
    loads: tuple[tuple[float, ...], ...]
    tokens_per_second: float = field(default=0.0, compare=False)
    cpu_seconds: float = field(default=0.0, compare=False)
    validation_loss: float | None = None


@dataclass(frozen=True)
class History:
    """The records of one run, in order, with the settings that made them."""

    config: TrainConfig
    records: tuple[StepRecord, ...]

    def __len__(self) -> int:
        return len(self.records)

    def column(self, name: str) -> list[Any]:
        """Return one field of every record, for example `column("task_loss")`."""
        return [getattr(record, name) for record in self.records]

    @property
    def validation(self) -> list[tuple[int, float]]:
        """The measured validation losses as (step, nats per token)."""
        return [(r.step, r.validation_loss) for r in self.records if r.validation_loss is not None]

    @property
    def seconds(self) -> float:
        """How long the steps took, without evaluation and checkpoints, interruptions left out."""
        return sum(self.config.tokens_per_step / r.tokens_per_second for r in self.records)

    @property
    def cpu_seconds(self) -> float:
        """How long processors were at work on the steps: on a shared machine, less than `seconds`.

        Zero where the history was stored before this was measured.
        """
        return sum(self.column("cpu_seconds"))

    def to_json(self) -> str:
        """Write everything as one JSON object; what depends on the clock stands apart."""
        records = [asdict(record) for record in self.records]
        speeds = [round(record.pop("tokens_per_second"), 1) for record in records]
        work = [round(record.pop("cpu_seconds"), 4) for record in records]
        whole = {"schema": SCHEMA, "config": self.config.as_dict(), "records": records}
        return json.dumps({**whole, "tokens_per_second": speeds, "cpu_seconds": work}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "History":
        """Read what `to_json` wrote; every number comes back exactly, except the clock's."""
        stored = json.loads(text)
        speeds = stored["tokens_per_second"]
        work = stored.get("cpu_seconds", [0.0] * len(speeds))
        records = zip(stored["records"], speeds, work, strict=True)
        return cls(
            TrainConfig(**stored["config"]),
            tuple(_record(fields, float(speed), float(cpu)) for fields, speed, cpu in records),
        )

    def save(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all."""
        write_atomically(Path(path), self.to_json().encode())

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read the file that `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def _record(fields: dict[str, Any], speed: float, cpu_seconds: float) -> StepRecord:
    loads: Sequence[Sequence[float]] = fields["loads"]
    tuples = {
        "loads": tuple(tuple(layer) for layer in loads),
        "max_violation": tuple(fields["max_violation"]),
    }
    clock = {"tokens_per_second": speed, "cpu_seconds": cpu_seconds}
    return StepRecord(**{**fields, **tuples}, **clock)
