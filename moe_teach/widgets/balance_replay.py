"""Replay a training run: who carries the load, who knows what, and whose route still flips."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import traitlets

from moe_teach.config import refuse
from moe_teach.ops.balance import load_entropy, max_violation
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget
from moe_teach.widgets.replay_record import Replay, example

__all__ = ["BalanceReplay", "Replay"]

MOST_METHODS, MOST_EXPERTS, MOST_TOKENS = 6, 32, 200  # more could not be told apart
DEAD = 0.1  # of the fair share: an expert below it hardly learns
_COUNTS = 10**9  # the library counts choices; so many carry a share to nine digits


class BalanceReplay(CourseWidget):
    """Several balancing methods side by side, over the steps of their training.

    `step` is a recorded training step (any other number takes the nearest one), `method` the name
    of the method that has the stage to itself ("" for all), `token` the place of the probe token
    that is followed through the run (-1 for none). Loads, skills and choices travel as bytes.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "One panel for each balancing method at one training step: the load of every expert "
        "against the fair share, the entropy, the maximal violation and the dead experts, and a "
        "probe text whose tokens carry the number of their expert."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Press play and watch the probe text: from which step on do the routes hardly flip, and "
        "is it the same step under every method?",
        "Stop where all bars reach the fair share, and read the experts' losses beside them: the "
        "load is equal, but are the experts equally good?",
        "Choose one token and follow it through the run under every method. Does it end at the "
        "same expert, and would that mean anything?",
    )

    methods = traitlets.List(traitlets.Dict()).tag(sync=True)
    loads = traitlets.Bytes(b"").tag(sync=True)
    skills = traitlets.Bytes(b"").tag(sync=True)
    choices = traitlets.Bytes(b"").tag(sync=True)
    text = traitlets.List(traitlets.Unicode()).tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    method = traitlets.Unicode("").tag(sync=True)
    token = traitlets.Int(-1).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        if "methods" not in traits:
            note = "An invented illustration: no model was trained for these numbers."
            traits = _as_traits(example()) | {"note": note, "step": 150} | traits
        super().__init__(**traits)

    @classmethod
    def of(cls, replays: dict[str, Replay], **traits: Any) -> "BalanceReplay":
        """Show the replays, one for each method; `note` may say where they come from.

        Raises:
            ValueError: for no replay or more than 6, for probe texts or numbers of experts that
                differ, for more than 32 experts or 200 tokens.
        """
        refuse(
            not 1 <= len(replays) <= MOST_METHODS,
            f"The replay shows 1 to {MOST_METHODS} methods side by side, not {len(replays)}.",
        )
        first = next(iter(replays.values()))
        refuse(
            any(replay.text != first.text for replay in replays.values()),
            "Every method must route the same probe text, so that the routes can be compared.",
        )
        refuse(
            any(replay.n_experts != first.n_experts for replay in replays.values()),
            "Every method must have the same number of experts: otherwise the fair shares differ.",
        )
        refuse(
            first.n_experts > MOST_EXPERTS or len(first.text) > MOST_TOKENS,
            f"The replay has room for {MOST_EXPERTS} experts and {MOST_TOKENS} probe tokens, not "
            f"for {first.n_experts} and {len(first.text)}.",
        )
        last = max(replay.steps[-1] for replay in replays.values())
        return cls(**_as_traits(replays) | {"step": last} | traits)

    def balance(self) -> dict[str, tuple[float, float, int]]:
        """Give entropy, maximal violation and dead experts of every method at the present step.

        An expert is dead below a tenth of the fair share.
        """
        tables = {}
        for name, n_experts, row in self._rows():
            counts = torch.tensor(np.round(row * _COUNTS)).long()
            dead = int((row < DEAD / n_experts).sum())
            tables[name] = (float(load_entropy(counts)), float(max_violation(counts)), dead)
        return tables

    def words(self) -> str:
        """Say the present step of every method in numbers."""
        said = "; ".join(
            f"{name}: entropy {entropy:.2f}, maximal violation {violation:.2f}, {dead} dead"
            for name, (entropy, violation, dead) in self.balance().items()
        )
        end = f" {self.note}" if self.note else ""
        return f"The load of every expert at step {self.step}. {said}.{end}"

    def picture(self) -> str:
        """Draw the load of every expert under each method, with the fair share as a line."""
        rows, strokes = self._rows(), []
        most = max(float(load.max()) for _, _, load in rows)
        for i, (name, n_experts, load) in enumerate(rows):
            left, base = 12 + 272 * (i % 2), 150 + 140 * (i // 2)
            width = 240 / n_experts
            for expert, share in enumerate(load):
                height = 84 * float(share) / most
                colour = still.colour_of(expert)
                strokes.append(
                    still.box(left + expert * width, base - height, width - 3, height, colour)
                )
            fair = base - 84 / n_experts / most
            strokes.append(still.line([(left, fair), (left + 240, fair)], dash="3 3"))
            strokes.append(still.label(left, base - 92, name, weight=600))
        title = f"Load of every expert at step {self.step}; dashed: the fair share"
        return still.sheet(560, 160 + 140 * ((len(rows) - 1) // 2), title, *strokes)

    def _rows(self) -> list[tuple[str, int, np.ndarray]]:
        """Give each method's name, number of experts and load at the present step."""
        loads, start, rows = np.frombuffer(self.loads, "<f4"), 0, []
        for method in self.methods:
            steps, n_experts = method["steps"], method["n_experts"]
            at = max(int(np.searchsorted(steps, self.step, side="right")) - 1, 0)
            rows.append((method["name"], n_experts, loads[start + at * n_experts :][:n_experts]))
            start += len(steps) * n_experts
        return rows

    @traitlets.validate("step")
    def _nearest_recorded(self, proposal: Any) -> int:
        steps = sorted({step for method in self.methods for step in method["steps"]})
        return min(steps, key=lambda step: abs(step - proposal["value"]))

    @traitlets.validate("method")
    def _is_known(self, proposal: Any) -> str:
        names = [method["name"] for method in self.methods]
        refuse(
            proposal["value"] not in ("", *names),
            f"There is no method called {proposal['value']!r}. Choose one of "
            f"{', '.join(map(repr, names))}, or '' for all.",
        )
        return proposal["value"]

    @traitlets.validate("token")
    def _is_in_the_text(self, proposal: Any) -> int:
        last = len(self.text) - 1
        refuse(
            not -1 <= proposal["value"] <= last,
            f"token is a place in the probe text, 0 to {last}, or -1 for none; it is "
            f"{proposal['value']}.",
        )
        return proposal["value"]


def _as_traits(replays: dict[str, Replay]) -> dict[str, Any]:
    measured = [replay.skill for replay in replays.values() if replay.skill is not None]
    return {
        "methods": [
            {
                "name": name,
                "steps": replay.steps,
                "n_experts": replay.n_experts,
                "top_k": replay.choices.shape[2],
                "validation_loss": replay.validation_loss,
                "has_skill": replay.skill is not None,
            }
            for name, replay in replays.items()
        ],
        "loads": b"".join(replay.loads.astype("<f4").tobytes() for replay in replays.values()),
        "skills": b"".join(skill.astype("<f4").tobytes() for skill in measured),
        "choices": b"".join(r.choices.astype(np.uint8).tobytes() for r in replays.values()),
        "text": next(iter(replays.values())).text,
    }
