"""The record that the balance replay shows: one run, one layer, a few dozen steps."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from moe_teach.config import refuse

Array = np.ndarray | torch.Tensor | list  # given as any of them, kept as NumPy


@dataclass(frozen=True, eq=False)
class Replay:
    """What one run did to one layer, at the steps that were recorded.

    Args:
        steps: the training steps, rising.
        loads: (n_steps, n_experts), the load of every expert; counts are divided by their sum.
        validation_loss: one number for each step, or None where it was not measured.
        choices: (n_steps, n_tokens, top_k), the experts that the probe text's tokens chose.
        text: the probe text's tokens, as they are to be read.
        skill: (n_steps, n_experts), the mean loss of the tokens of every expert, NaN for an
            expert without tokens; None where it was not measured.

    Raises:
        ValueError: for lengths that do not fit, steps that do not rise, or an expert that does
            not exist.
    """

    steps: list[int]
    loads: Array
    validation_loss: Array | None
    choices: Array
    text: list[str]
    skill: Array | None = None

    def __post_init__(self) -> None:
        """Take lists and tensors too, and refuse what cannot be shown."""
        steps = [int(step) for step in self.steps]
        refuse(not steps, "A replay needs at least one recorded step, but `steps` is empty.")
        refuse(
            any(later <= earlier for earlier, later in pairwise(steps)),
            "The steps of a replay must rise: sort them, and record each step once.",
        )
        clean = {
            "steps": steps,
            "loads": _shares(_table("loads", self.loads, len(steps), "n_experts")),
            "choices": _table("choices", self.choices, len(steps), "n_tokens", "top_k"),
            "text": [str(token) for token in self.text],
        }
        if self.validation_loss is not None:
            losses = _table("validation_loss", self.validation_loss, len(steps))
            refuse(not np.isfinite(losses).all(), "validation_loss must hold finite numbers.")
            clean["validation_loss"] = losses.tolist()
        if self.skill is not None:
            clean["skill"] = _table("skill", self.skill, len(steps), "n_experts")
        for name, value in clean.items():
            object.__setattr__(self, name, value)
        self._refuse_misfits()
        object.__setattr__(self, "choices", self.choices.astype(np.int64))

    def _refuse_misfits(self) -> None:
        n_tokens, n_experts = self.choices.shape[1], self.loads.shape[1]
        refuse(
            n_tokens != len(self.text) or n_tokens == 0,
            f"choices speak of {n_tokens} tokens and text of {len(self.text)}: give the probe text "
            "token by token, at least one.",
        )
        known = (self.choices >= 0) & (self.choices < n_experts)
        refuse(
            not known.all() or not (self.choices == np.round(self.choices)).all(),
            f"choices must be expert ids from 0 to {n_experts - 1}, because loads has {n_experts} "
            "columns.",
        )
        if self.skill is not None:
            refuse(
                self.skill.shape != self.loads.shape or bool(np.isinf(self.skill).any()),
                f"skill needs a finite loss for each of the {n_experts} experts at every step, or "
                "NaN for an expert without tokens.",
            )

    @property
    def n_experts(self) -> int:
        """Give the number of experts of the layer."""
        return self.loads.shape[1]

    def row(self, step: int) -> int:
        """Give the row that shows `step`: the last one recorded until then, or else the first."""
        return max(int(np.searchsorted(self.steps, step, side="right")) - 1, 0)


def _table(name: str, values: Array, n_steps: int, *others: str) -> np.ndarray:
    """Read `values` as (n_steps, *others)."""
    wanted = f"({', '.join(('n_steps', *others))})"
    try:
        detached = values.detach().cpu() if isinstance(values, torch.Tensor) else values
        table = np.asarray(detached, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.empty(0)
    refuse(
        table.ndim != 1 + len(others) or len(table) != n_steps or 0 in table.shape[1:],
        f"{name} must have the shape {wanted} with one row for each of the {n_steps} steps; it has "
        f"{tuple(table.shape)}.",
    )
    return table


def _shares(loads: np.ndarray) -> np.ndarray:
    total = loads.sum(axis=1, keepdims=True)
    refuse(
        not np.isfinite(loads).all() or bool((loads < 0).any()) or not (total > 0).all(),
        "loads must be shares or counts: finite, not negative, and with a positive sum at every "
        "step.",
    )
    return loads / total


def example() -> dict[str, Replay]:
    """Invent three runs of 8 experts, each with its own way to spread the load."""
    draw = torch.Generator().manual_seed(6)
    text = ["The", "cat", "sat", ".", "def", "f", "(", "x", ")", ":", "12", "+", "30", "=", "42"]
    text += [",", "der", "Hund", "und", "die", "Katze", "."]
    steps = list(range(0, 601, 30))
    time = torch.linspace(0, 1, len(steps))[:, None]
    wish = torch.randn(8, generator=draw)
    wobble = 0.12 * torch.randn(len(steps), 8, generator=draw)
    taste = torch.randn(len(text), 8, generator=draw)
    restless = torch.randn(len(steps), len(text), 8, generator=draw)
    hard = torch.tensor([0.7, 2.9, 1.6, 2.4, 1.1, 3.1, 2.0, 0.9])
    made = {}
    # How strongly the wish for few experts acts over time, and when the routes have settled.
    plans = {
        "no balancing": (0.3 + 4 * time, 3.0, 0),
        "auxiliary loss": (0.3 * torch.exp(-6 * time) + 2 * time * torch.exp(-9 * time), 5.0, 3),
        "bias": (0.3 * torch.exp(-3 * time) + 4 * time * torch.exp(-6 * time), 9.0, 5),
    }
    for name, (pull, settle, turn) in plans.items():
        loads = (pull * wish + wobble * torch.exp(-3 * time)).softmax(-1)
        noise = 2.2 * torch.exp(-settle * time)[..., None] * restless
        liking = 2.0 * time[..., None] * taste.roll(turn, -1) + loads.log()[:, None] + noise
        worth = hard.roll(turn) + (4.3 - hard.roll(turn)) * torch.exp(-4 * time)
        made[name] = Replay(
            steps=steps,
            loads=loads,
            validation_loss=(1.9 + 2.4 * torch.exp(-4 * time[:, 0])).tolist(),
            choices=liking.topk(1).indices,
            text=text,
            skill=torch.where(loads > 0.002, worth, torch.nan),
        )
    return made
