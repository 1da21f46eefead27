"""Chapter 06: what a training run did to one layer, recorded for the balance replay."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from moe_teach.chapters.ch06_load_balancing.experiments.text import (
    N_EXPERTS,
    TEXT,
    TextSetting,
    choosing_by_token,
    recent_load,
    text_data,
    train_text,
)
from moe_teach.data.tokenizer import ByteTokenizer
from moe_teach.nn.model import Model
from moe_teach.train.record import StepRecord

PROBE = "def area(r):\n    return 3 * r\n12 + 30 = 42\nHaus, maison, casa"
LAYER = 1
N_SNAPSHOTS = 20
REPLAYED = ("no balancing", "Switch loss 0.01", "expert bias 0.001", "expert choice")


class Recorder:
    """Take a snapshot of a layer some twenty times in a run; `fields` is what a `Replay` takes.

    A snapshot holds the load of the last steps, the experts of the probe text, and how well every
    expert predicts on a few held-back windows. Tokens choose in all of them.
    """

    def __init__(self, steps: int, seed: int, n_snapshots: int = N_SNAPSHOTS) -> None:
        n_snapshots = min(n_snapshots, steps)
        self.due = {round((i + 1) * steps / n_snapshots) - 1 for i in range(n_snapshots)}
        self.held_back = text_data(seed)[1][0]
        self.probe = torch.tensor([ByteTokenizer().encode(PROBE)])
        self.records: list[StepRecord] = []
        names = ("steps", "loads", "validation_loss", "choices", "skill")
        self._columns: dict[str, list[Any]] = {name: [] for name in names}

    def __call__(self, model: Model, record: StepRecord) -> None:
        """Look at the model after a step, if a snapshot is due."""
        self.records.append(record)
        if record.step in self.due:
            model.eval()
            with choosing_by_token(model), torch.no_grad():
                self._take(model, record.step)
            model.train()

    @property
    def fields(self) -> dict[str, Any]:
        """Return the arguments of `Replay`, as JSON values (no NaN: None stands for it)."""
        return {**self._columns, "text": list(PROBE)}

    def _take(self, model: Model, step: int) -> None:
        output = model(self.held_back.inputs)
        targets = self.held_back.targets.flatten()
        nats = F.cross_entropy(output.logits.flatten(0, 1), targets, reduction="none")
        experts = output.routings[LAYER].expert_ids[:, 0]
        sums = torch.zeros(N_EXPERTS).index_add(0, experts, nats)
        counts = torch.bincount(experts, minlength=N_EXPERTS)
        skill = (sums / counts).tolist()
        columns = self._columns
        columns["steps"].append(step + 1)
        load = recent_load(self.records, step)[LAYER].tolist()
        columns["loads"].append([round(share, 4) for share in load])
        columns["validation_loss"].append(round(nats.mean().item(), 4))
        columns["choices"].append(model(self.probe).routings[LAYER].expert_ids.tolist())
        columns["skill"].append(
            [round(s, 3) if n else None for s, n in zip(skill, counts, strict=True)]
        )


def measure_replay(setting: TextSetting, seed: int) -> dict[str, Any]:
    """Run one cell: train, and return the fields of a replay."""
    recorder = Recorder(setting.steps, seed)
    train_text(setting, seed, watch=recorder)
    return recorder.fields


LONG = {name: replace(TEXT[name], steps=1000) for name in REPLAYED}
