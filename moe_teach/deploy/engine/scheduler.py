"""Who is read in the next step: first come, first served, and nobody waits for another to end."""

import heapq
from collections import deque
from dataclasses import dataclass, field

from torch import Generator

from moe_teach.deploy.engine.cache import Piece
from moe_teach.deploy.engine.requests import EngineFull, Request


@dataclass(eq=False, slots=True)
class Text:
    """A request in a slot: its tokens so far, how many the model has read, and its luck."""

    request: Request
    slot: int
    tokens: list[int]
    luck: Generator
    n_read: int = 0

    @property
    def n_unread(self) -> int:
        """How many tokens the model has to read before it can say the next one."""
        return len(self.tokens) - self.n_read

    @property
    def n_new(self) -> int:
        """How many tokens were added to the prompt."""
        return len(self.tokens) - len(self.request.prompt)


@dataclass(kw_only=True)
class Scheduler:
    """The queue, the slots, and the plan of a step.

    Args:
        n_slots: how many texts may be worked on at once.
        max_waiting: how many more may wait; None for any number.
        prefill_chunk: how many tokens of prompts are read in one step at most, so that a long
            prompt does not hold up those that are being answered.
    """

    n_slots: int
    max_waiting: int | None
    prefill_chunk: int
    waiting: deque[Request] = field(default_factory=deque)
    running: dict[str, Text] = field(default_factory=dict)
    free: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.free = list(range(self.n_slots))

    def queue(self, request: Request) -> None:
        """Let a request wait.

        Raises:
            EngineFull: all slots are taken and the queue is as long as it may be.
        """
        n_behind = len(self.waiting) + 1 - len(self.free)  # those whom no slot is waiting for
        if self.max_waiting is not None and n_behind > self.max_waiting:
            raise EngineFull(
                f"All {self.n_slots} slots are taken or promised and {self.max_waiting} requests "
                "wait already, as many as may: ask again later."
            )
        self.waiting.append(request)

    def admit(self) -> None:
        """Give free slots, the lowest first, to those who wait longest."""
        while self.waiting and self.free:
            request = self.waiting.popleft()
            luck = Generator().manual_seed(request.sampling.seed)
            text = Text(request, heapq.heappop(self.free), list(request.prompt), luck)
            self.running[request.id] = text

    def plan(self) -> list[tuple[Text, Piece]]:
        """Choose what is read now: one token of each text that speaks, and pieces of prompts.

        Prompts are read in the order of their arrival while `prefill_chunk` lasts. Pieces of one
        token come first, by slot, as the cache wants them.
        """
        left, chosen = self.prefill_chunk, []
        for text in self.running.values():
            n_tokens = 1
            if not text.n_new:
                n_tokens = min(text.n_unread, left)
                left -= n_tokens
            if n_tokens:
                chosen.append((text, Piece(text.slot, n_tokens)))
        return sorted(chosen, key=lambda pair: (pair[1].n_tokens > 1, pair[1].slot))

    def leave(self, request_id: str) -> int | None:
        """Take a request out of the queue or its slot; return the slot, if it had one."""
        text = self.running.pop(request_id, None)
        if text is not None:
            heapq.heappush(self.free, text.slot)
            return text.slot
        self.waiting = deque(other for other in self.waiting if other.id != request_id)
        return None

    def knows(self, request_id: str) -> bool:
        """Tell whether a request waits or runs."""
        return request_id in self.running or any(r.id == request_id for r in self.waiting)
