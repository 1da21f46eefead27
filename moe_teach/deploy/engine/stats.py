"""What the engine has counted: for metrics, and for looking at one step."""

from collections import deque
from dataclasses import dataclass, field

from moe_teach.deploy.engine.requests import FinishReason

_REMEMBERED = 1024


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step: what was read, who stood where, and whom it woke.

    Args:
        n_prefilled: tokens of prompts that were read.
        n_decoded: running requests that got one more token after their first.
        n_running: requests in slots while the model computed.
        n_waiting: requests in the queue at the same time.
        distinct_experts: for each MoE layer, how many experts at least one token chose.
    """

    n_prefilled: int
    n_decoded: int
    n_running: int
    n_waiting: int
    distinct_experts: tuple[int, ...]


@dataclass(kw_only=True)
class Stats:
    """Counts since the engine was made; the engine writes, everybody else reads.

    Args:
        n_steps: steps in which the model computed.
        n_prefilled: tokens of prompts read.
        n_decoded: new tokens read to predict the next one.
        n_finished: how many requests ended, for each reason.
        tokens_per_expert: for each MoE layer, how often each expert was chosen.
        steps: the latest steps, oldest first.
    """

    tokens_per_expert: list[list[int]]
    n_steps: int = 0
    n_prefilled: int = 0
    n_decoded: int = 0
    n_finished: dict[FinishReason, int] = field(
        default_factory=lambda: {"stop": 0, "length": 0, "cancelled": 0}
    )
    steps: deque[StepRecord] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def add(self, step: StepRecord, tokens_per_expert: list[list[int]]) -> None:
        """Count one step more."""
        self.n_steps += 1
        self.n_prefilled += step.n_prefilled
        self.n_decoded += step.n_decoded
        self.steps.append(step)
        for total, new in zip(self.tokens_per_expert, tokens_per_expert, strict=True):
            total[:] = [a + b for a, b in zip(total, new, strict=True)]
