"""Schedulers that keep all rules of exercise 15.2, and others that each break one."""

from collections.abc import Callable
from dataclasses import dataclass, field

from moe_teach.chapters.ch15_serving.counting_model import Piece, Read, Request

Serve = Callable[[Read, list[Request], int, int], list[list[int]]]

RIGHT = ("plain", "highest slot first", "pieces turned round", "slots by their number")


@dataclass(frozen=True)
class Fault:
    """What a scheduler does wrong, and on which requests it does no harm."""

    deed: str
    excuse: str


WRONG = {
    "waits for the batch": Fault(
        "The next requests get slots when the last of a batch has ended, and not as soon as one "
        "is free.",
        "all requests come at once and want equally many tokens",
    ),
    "a budget for everybody": Fault(
        "Each prompt has the whole budget, where all prompts of a step share it.",
        "one prompt at a time is being read",
    ),
    "answers use the budget": Fault(
        "Newest tokens of answers are taken from the budget, which is for prompts.",
        "no prompt is long while others speak",
    ),
    "no budget": Fault("Prompts are read whole, whatever the budget.", "prompts are short"),
    "last come first": Fault(
        "Of those who wait, the one who came last gets the free slot.",
        "there are as many slots as requests",
    ),
    "shortest first": Fault(
        "Of those who wait, the one with the shortest prompt gets the free slot.",
        "prompts come in the order of their lengths",
    ),
    "prompts before answers": Fault(
        "While a prompt is being read, those who speak do not get their tokens.",
        "all prompts are read in one step",
    ),
    "newest prompt first": Fault(
        "The budget goes to the request that was admitted last.",
        "one prompt at a time is being read",
    ),
    "slots free a step late": Fault(
        "A slot is free one step later than it should be.", "nobody waits for a slot"
    ),
    "no clock": Fault(
        "Requests get slots before they have arrived.",
        "all requests are there from the beginning",
    ),
    "one token too many": Fault("Answers have a token too many.", "nobody counts the tokens"),
    "speaks too early": Fault(
        "A prompt is answered before it was read to its end.",
        "every prompt is read in one piece",
    ),
    "one pass a text": Fault(
        "Every text has a forward pass of its own.", "one text runs at a time"
    ),
    "reads all again": Fault(
        "In every step a text that speaks is read from its beginning, and not its newest token "
        "alone.",
        "passes are counted, and nobody looks at what is read in them",
    ),
    "rests after the prompt": Fault(
        "A text leaves out the step after its prompt was read.", "every request wants one token"
    ),
}
BUSY: tuple[Request, ...] = (
    (0, [3, 4, 5, 6, 7], 2),
    (0, [8], 5),
    (1, [9, 10, 11], 1),
    (1, [12] * 7, 3),
    (1, [13, 14], 1),
    (2, [15], 2),
    (20, [16, 17], 2),
)
"""Requests on which every fault does harm, with 3 slots and a budget of 4."""


def scheduler(fault: str) -> Serve:
    """Give the scheduler with this fault, or one of the right ones by its name."""

    def serve(read: Read, requests: list[Request], n_slots: int, budget: int) -> list[list[int]]:
        desk = _Desk(fault, requests, n_slots, budget)
        while desk.queue or desk.running or desk.late:
            desk.admit()
            desk.step(read)
        return desk.answers

    return serve


@dataclass
class _Desk:
    fault: str
    requests: list[Request]
    n_slots: int
    budget: int
    now: int = 0
    late: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers: list[list[int]] = [[] for _ in self.requests]
        self.queue = list(range(len(self.requests)))
        self.running: dict[int, int] = {}
        self.n_read = [0] * len(self.requests)
        self.rests = [False] * len(self.requests)
        self.free = list(range(self.n_slots))

    def admit(self) -> None:
        if self.fault == "waits for the batch" and self.running:
            return
        while self.free and (there := self._there()):
            index = self.queue.pop(self.queue.index(self._next(there)))
            if self.fault == "slots by their number":
                self.free.sort()
            self.running[index] = self.free.pop(-1 if self.fault == "highest slot first" else 0)

    def step(self, read: Read) -> None:
        plan = self._plan()
        pieces = [piece for _, piece in plan]
        if self.fault == "one pass a text":
            told = [read([piece])[0] for piece in pieces]
        else:
            told = read(pieces) if pieces else []
        self.free += self.late
        self.late = []
        for (index, piece), token in zip(plan, told, strict=True):
            self._take(index, piece, token)
        self.now += 1

    def _there(self) -> list[int]:
        is_blind = self.fault == "no clock"
        return [i for i in self.queue if is_blind or self.requests[i][0] <= self.now]

    def _next(self, there: list[int]) -> int:
        if self.fault == "last come first":
            return there[-1]
        if self.fault == "shortest first":
            return min(there, key=lambda i: len(self.requests[i][1]))
        return there[0]

    def _plan(self) -> list[tuple[int, Piece]]:
        left, plan = self.budget, []
        order = list(self.running)
        if self.fault == "newest prompt first":
            order.reverse()
        reads_prompts = any(not self.answers[i] for i in order)
        for index in order:
            n_tokens = self._n_tokens(index, left, reads_prompts)
            if self._asks_budget(index):
                left -= n_tokens
            if n_tokens:
                start = end = self.n_read[index]
                if self.fault == "reads all again" and self.answers[index]:
                    start = 0
                text = self.requests[index][1] + self.answers[index]
                piece = (self.running[index], start, text[start : end + n_tokens])
                plan.append((index, piece))
        return plan[::-1] if self.fault == "pieces turned round" else plan

    def _asks_budget(self, index: int) -> bool:
        if self.fault in ("a budget for everybody", "no budget"):
            return False
        return not self.answers[index] or self.fault == "answers use the budget"

    def _n_tokens(self, index: int, left: int, reads_prompts: bool) -> int:
        if self.answers[index]:
            if self.rests[index]:
                self.rests[index] = False
                return 0
            if self.fault == "prompts before answers" and reads_prompts:
                return 0
            return min(1, left) if self.fault == "answers use the budget" else 1
        unread = len(self.requests[index][1]) - self.n_read[index]
        return unread if self.fault == "no budget" else min(left, unread)

    def _take(self, index: int, piece: Piece, token: int) -> None:
        _, prompt, n_new = self.requests[index]
        answer = self.answers[index]
        self.n_read[index] = piece[1] + len(piece[2])
        is_whole = self.n_read[index] == len(prompt) + len(answer)
        if self.fault == "speaks too early" and not answer:
            is_whole, self.n_read[index] = True, len(prompt)
        if not is_whole:
            return
        self.rests[index] = self.fault == "rests after the prompt" and not answer
        answer.append(token)
        if len(answer) == n_new + (self.fault == "one token too many"):
            slots = self.late if self.fault == "slots free a step late" else self.free
            slots.append(self.running.pop(index))
