"""What stands in for a model in exercises 15.2 and 15.5, and a scheduler to compare with."""

from collections.abc import Callable
from typing import Any

import torch

from moe_teach.judging.exercise import WrongAnswer, generator

Request = tuple[int, list[int], int]  # arrives, prompt, n_new
Piece = tuple[int, int, list[int]]  # slot, start, token_ids
Read = Callable[[list[Piece]], list[int]]
_MOST_PASSES = 2_000


def next_token(text: list[int]) -> int:
    """Continue a text: the answer depends on every token, its place and the length."""
    value = 7
    for token in text:
        value = (31 * value + token + 1) % 1009
    return value


def alone(request: Request) -> list[int]:
    """Answer one request without any scheduler."""
    _, prompt, n_new = request
    text = list(prompt)
    for _ in range(n_new):
        text.append(next_token(text))
    return text[len(prompt) :]


class CountingModel:
    """Reads pieces as a model with slots does, and looks closely at what it is given."""

    def __init__(self, n_slots: int) -> None:
        self.n_slots = n_slots
        self.texts: dict[int, list[int]] = {}
        self.passes: list[list[tuple[int, list[int]]]] = []

    def __call__(self, pieces: list[Piece]) -> list[int]:
        """Read the pieces of one step, and continue each."""
        self._demand_some(pieces)
        for slot, start, token_ids in pieces:
            self._demand_that_it_fits(slot, start, token_ids)
            self.texts[slot] = self.texts.get(slot, [])[:start] + list(token_ids)
        self.passes.append(sorted((start, list(ids)) for _, start, ids in pieces))
        return [next_token(self.texts[slot]) for slot, _, _ in pieces]

    def _demand_some(self, pieces: Any) -> None:
        if len(self.passes) >= _MOST_PASSES:
            raise WrongAnswer(
                f"`read` was called {_MOST_PASSES:,} times, and the answers are not there.",
                cause="Some text is never read to its end, or never leaves.",
            )
        if not pieces:
            raise WrongAnswer(
                "`read` was called without any piece.",
                cause="In a step in which nobody waits or runs there is nothing to read.",
                cure="Call it where there are pieces, and let the step pass otherwise.",
            )
        slots = [slot for slot, _, _ in pieces]
        if len(set(slots)) < len(slots):
            raise WrongAnswer(
                "Two pieces of one step stand in the same slot.",
                cause="A slot was given away twice, or a text has two pieces.",
                got=slots,
            )

    def _demand_that_it_fits(self, slot: int, start: int, token_ids: list[int]) -> None:
        if not (isinstance(slot, int) and 0 <= slot < self.n_slots):
            raise WrongAnswer(
                f"A piece stands in slot {slot!r}, but there are {self.n_slots}, from 0 on.",
                cause="More texts run than there are slots, or slots are counted from 1.",
            )
        if not len(token_ids):
            raise WrongAnswer(
                "A piece has no tokens.",
                cause="The budget was used up before its turn came.",
                cure="Leave out whoever reads nothing in this step.",
            )
        n_read = len(self.texts.get(slot, []))
        if start not in (0, n_read):
            raise WrongAnswer(
                f"A piece starts at {start}, but of the text in its slot {n_read} tokens were "
                "read.",
                cause="`start` counts the tokens of this text that were read before, and begins "
                "anew with the next one.",
                got=(slot, start, list(token_ids)),
            )


def plainly(read: Read, requests: list[Request], n_slots: int, budget: int) -> list[list[int]]:
    """Serve by the four rules, written for checking and not for reading."""
    answers: list[list[int]] = [[] for _ in requests]
    queue, running, step = list(range(len(requests))), [], 0
    slot_of: dict[int, int] = {}
    n_read = dict.fromkeys(queue, 0)
    while queue or running:
        while queue and len(running) < n_slots and requests[queue[0]][0] <= step:
            taken = {slot_of[i] for i in running}
            slot_of[queue[0]] = min(set(range(n_slots)) - taken)
            running.append(queue.pop(0))
        left, plan = budget, []
        for i in running:
            unread = (requests[i][1] + answers[i])[n_read[i] :]
            take = 1 if answers[i] else min(left, len(unread))
            left -= 0 if answers[i] else take
            if take:
                plan.append((i, (slot_of[i], n_read[i], unread[:take])))
        told = read([piece for _, piece in plan]) if plan else []
        for (i, piece), token in zip(plan, told, strict=True):
            n_read[i] += len(piece[2])
            if n_read[i] == len(requests[i][1]) + len(answers[i]):
                answers[i].append(token)
        running = [i for i in running if len(answers[i]) < requests[i][2]]
        step += 1
    return answers


def some_requests(seed: int, n_requests: int, latest: int) -> list[Request]:
    """Draw requests in the order of their arrival."""
    random = generator(seed)

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=random))

    arrivals = sorted(between(0, latest) for _ in range(n_requests))
    return [
        (arrives, [between(0, 99) for _ in range(between(1, 9))], between(1, 6))
        for arrives in arrivals
    ]
