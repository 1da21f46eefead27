"""Requests in slots, step by step: what is read, who waits, and how many experts a step wakes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import traitlets

from moe_teach.config import refuse
from moe_teach.widgets import still
from moe_teach.widgets.base import CourseWidget

PLANS = ("continuous", "a batch at a time")
MOST_REQUESTS, MOST_SLOTS = 24, 12  # more could not be told apart


class Read(NamedTuple):
    """In one step, `n_tokens` of one request's text in its slot, of its prompt or its newest."""

    slot: int
    request: int
    n_tokens: int
    is_prompt: bool


class Step(NamedTuple):
    """What one forward pass reads, and how many requests have arrived and have no slot."""

    reads: list[Read]
    n_waiting: int


class BatchExplorer(CourseWidget):
    """Requests that arrive `gap` steps apart, served in `n_slots` slots.

    Request i has a prompt of `prompts[i]` tokens and wants `answers[i]`. A step reads the newest
    token of everybody who speaks and up to `budget` tokens of prompts, in one pass. With the plan
    "a batch at a time" slots are given away only when all are free. Experts are counted by chapter
    01's formula, as if every token chose `top_k` of `n_experts` evenly.
    """

    _esm = Path(__file__).with_suffix(".js")
    _css = Path(__file__).with_suffix(".css")
    alt: ClassVar[str] = (
        "A table of slots by steps, each cell with the request that is read there, prompts hatched "
        "and answers plain. Below it the rows of each step, and how many experts they wake."
    )
    what_to_try: ClassVar[tuple[str, str, str]] = (
        "Change the plan to a batch at a time. Which cells are empty now, and who pays for them?",
        "Go from one slot to many. The rows of a step double; do the experts woken double, too?",
        "Make the budget small, then large. Who waits longer, and how tall is the tallest step?",
    )

    prompts = traitlets.List(traitlets.Int(min=1), [4, 2, 9, 3, 6, 1, 12, 4]).tag(sync=True)
    answers = traitlets.List(traitlets.Int(min=1), [8, 5, 12, 3, 9, 14, 4, 7]).tag(sync=True)
    n_experts = traitlets.Int(16, min=1).tag(sync=True)
    top_k = traitlets.Int(2, min=1).tag(sync=True)
    gap = traitlets.Int(1, min=0, max=8).tag(sync=True)
    n_slots = traitlets.Int(3, min=1, max=MOST_SLOTS).tag(sync=True)
    budget = traitlets.Int(4, min=1, max=32).tag(sync=True)
    plan = traitlets.Enum(PLANS, PLANS[0]).tag(sync=True)
    step = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        n_requests = len(self.prompts)
        refuse(
            len(self.answers) != n_requests or not 1 <= n_requests <= MOST_REQUESTS,
            f"{n_requests} prompts and {len(self.answers)} answers cannot be drawn: give as many "
            f"of both, 1 to {MOST_REQUESTS}.",
        )
        refuse(
            max(*self.prompts, *self.answers) > 40,
            "Prompts and answers may have up to 40 tokens: longer ones could not be drawn.",
        )
        refuse(
            self.top_k > self.n_experts,
            f"A token cannot choose {self.top_k} of {self.n_experts} experts.",
        )

    @classmethod
    def of(cls, prompts: Sequence[int], **traits: Any) -> "BatchExplorer":
        """Show requests with prompts of these lengths; answers are 3 to 14 tokens long."""
        answers = [3 + (7 * i + 5) % 12 for i in range(len(prompts))]
        return cls(**{"prompts": list(prompts), "answers": answers, **traits})

    @property
    def steps(self) -> list[Step]:
        """All steps, from the first arrival to the last token."""
        n_requests = len(self.prompts)
        n_read, n_said = [0] * n_requests, [0] * n_requests
        queue, running, steps = list(range(n_requests)), {}, []
        while queue or running:
            if self.plan == PLANS[0] or not running:
                free = [slot for slot in range(self.n_slots) if slot not in running.values()]
                while free and queue and queue[0] * self.gap <= len(steps):
                    running[queue.pop(0)] = free.pop(0)
            left, reads = self.budget, []
            for request, slot in running.items():
                unread = self.prompts[request] - n_read[request]
                n_tokens = min(left, unread) if unread else 1
                left -= n_tokens if unread else 0
                if n_tokens:
                    reads.append(Read(slot, request, n_tokens, unread > 0))
            n_waiting = sum(request * self.gap <= len(steps) for request in queue)
            steps.append(Step(reads, n_waiting))
            for _, request, n_tokens, is_prompt in reads:
                n_read[request] += n_tokens if is_prompt else 0
                n_said[request] += n_read[request] == self.prompts[request]
            running = {r: slot for r, slot in running.items() if n_said[r] < self.answers[r]}
        return steps

    def woken(self, n_rows: int) -> float:
        """Experts of a layer that so many rows wake, when all choose evenly."""
        return self.n_experts * (1 - (1 - self.top_k / self.n_experts) ** n_rows)

    @property
    def bill(self) -> dict[str, float | int]:
        """Steps, rows, and experts fetched: in the mean of a step, and for each new token."""
        steps = [step for step in self.steps if step.reads]
        rows = [sum(read.n_tokens for read in step.reads) for step in steps]
        fetched = sum(map(self.woken, rows))
        return {
            "steps": len(self.steps),
            "rows": sum(rows),
            "tallest": max(rows),
            "fetched": fetched / len(steps),
            "each": fetched / sum(self.answers),
        }

    def words(self) -> str:
        """Say the plan and its bill."""
        now = self.bill
        return (
            f"{len(self.prompts)} requests in {self.n_slots} slots, {self.plan}: {now['steps']:g} "
            f"steps read {now['rows']:g} rows, at most {now['tallest']:g} in one. A step wakes "
            f"{now['fetched']:.1f} of {self.n_experts} experts in the mean; for each new token "
            f"{now['each']:.1f} are fetched."
        )

    def picture(self) -> str:
        """Draw the slots by steps, prompts pale and answers full."""
        steps = self.steps
        if sum(len(step.reads) for step in steps) > still.MOST_MARKS // 2:
            return ""
        width, height = min(16.0, 500 / len(steps)), min(24.0, 190 / self.n_slots)
        strokes = []
        for slot in range(self.n_slots):
            strokes.append(still.label(8, 44 + slot * height + 14, f"slot {slot}"))
        for i, step in enumerate(steps):
            for slot, request, _, is_prompt in step.reads:
                place = 64 + i * width, 40 + slot * height
                full = 0.25 if is_prompt else 0.8
                size = width - 1, height - 3
                strokes.append(still.box(*place, *size, still.colour_of(request), full=full))
        foot = 40 + self.n_slots * height + 18
        strokes.append(still.label(64, foot, "steps: prompts pale, answers full"))
        return still.sheet(580, int(foot) + 12, f"{len(steps)} steps, {self.plan}", *strokes)

    @traitlets.validate("step")
    def _exists(self, proposal: Any) -> int:
        return min(proposal["value"], len(self.steps) - 1)
