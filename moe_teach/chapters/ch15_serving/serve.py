"""Chapter 15, exercise 15.2: the reader's scheduler serves, step by step."""

from typing import Any

from moe_teach.chapters.ch15_serving.counting_model import (
    CountingModel,
    Request,
    alone,
    plainly,
    some_requests,
)
from moe_teach.chapters.ch15_serving.schedulers import BUSY, WRONG, scheduler
from moe_teach.judging.exercise import Exercise, Words, WrongAnswer, require

EXERCISE = Exercise(
    id="15.2",
    name="serve",
    title="Your scheduler serves",
    points=3,
    difficulty=4,
    importance=5,
    minutes=25,
    limit=5,
    hints=(
        "Three tables are enough: who waits, who runs in which slot, and how much of each text was "
        "read. A text is its prompt and its answer so far, one after the other.",
        "In each step: move from waiting to running while there is a free slot and somebody has "
        "arrived; walk through running and build the pieces, with what is left of the budget; call "
        "read once; walk through the pieces and add a token wherever the whole text is read.",
        "unread = (prompt + answer)[n_read:]; for a prompt unread = unread[:left] and left -= "
        "len(unread). After read: n_read = start + len(token_ids); if n_read == len(prompt) + "
        "len(answer): answer.append(token); if len(answer) == n_new: free.append(running.pop(i)).",
    ),
    explanation="This is continuous batching (Orca, Yu et al., OSDI 2022): the batch is put "
    "together anew in every step, so a slot is never kept by an answer that has ended. The budget "
    "bounds what a step costs, so that a long prompt slows those who are being answered down a "
    "little for some steps, and not a lot for one.",
)
TOGETHER: tuple[tuple[Request, ...], ...] = (
    ((0, [5, 6, 7], 3), (0, [8], 2)),
    ((0, [1], 4), (0, [2, 3], 1), (2, [4, 5, 6], 2)),
)
NAMELESS = (
    "Arrivals, free slots, the budget and its order: in the first step that differs, one of the "
    "four rules was not kept."
)


def _shown(requests: list[Request], n_slots: int, budget: int) -> dict[str, Any]:
    return {"requests": requests, "n_slots": n_slots, "budget": budget}


def _passes(serve: Any, requests: list[Request], n_slots: int, budget: int) -> tuple[Any, list]:
    model = CountingModel(n_slots)
    given = [(arrives, list(prompt), n_new) for arrives, prompt, n_new in requests]
    return serve(model, given, n_slots, budget), model.passes


def _demand_answers(answer: Any, requests: list[Request], n_slots: int, budget: int) -> list:
    got, passes = _passes(answer, requests, n_slots, budget)
    expected = [alone(request) for request in requests]
    require(
        isinstance(got, list) and len(got) == len(expected),
        "There must be one answer for each request, in a list.",
        expected=Words(f"a list of {len(expected)} answers"),
        got=got,
        example=_shown(requests, n_slots, budget),
    )
    require(
        [list(one) for one in got] == expected,
        "An answer is not the one that its request would get alone.",
        cause="Tokens went to another request, one was added before its text was read to the end, "
        "or there are too many or too few.",
        cure="A piece predicts only where it ends its text: n_read == len(prompt) + len(answer).",
        expected=expected,
        got=got,
        example=_shown(requests, n_slots, budget),
    )
    return passes


@EXERCISE.stage("one request")
def _one(answer: Any, seed: int) -> None:
    for n_new, budget in ((1, 9), (4, 9), (3, 2)):
        _demand_answers(answer, [(0, [4, 2, 9, 1, 7], n_new)], 1, budget)


@EXERCISE.stage("several requests")
def _several(answer: Any, seed: int) -> None:
    for requests in TOGETHER:
        for n_slots in (1, 2, 3):
            _demand_answers(answer, list(requests), n_slots, 4)
    _demand_answers(answer, [], 2, 4)


@EXERCISE.stage("one pass a step")
def _one_pass(answer: Any, seed: int) -> None:
    requests: list[Request] = [(0, [1, 2], 3), (0, [3], 3)]
    passes = _demand_answers(answer, requests, 2, 8)
    require(
        len(passes) == 3,
        "`read` was called more or less often than once a step.",
        cause="Each text was read by a call of its own, or one after the other.",
        cure="Collect the pieces of all texts, then call read.",
        expected=Words("3 calls for two requests of 3 tokens that come together"),
        got=Words(f"{len(passes)} calls"),
        example=_shown(requests, 2, 8),
    )


@EXERCISE.stage("the rules")
def _rules(answer: Any, seed: int) -> None:
    _demand_schedule(answer, list(BUSY), 3, 4)


@EXERCISE.stage("any traffic")
def _any(answer: Any, seed: int) -> None:
    for n_requests, n_slots, budget in ((6, 1, 3), (9, 3, 4), (12, 4, 7)):
        requests = some_requests(100 * seed + n_requests, n_requests, latest=8)
        _demand_schedule(answer, requests, n_slots, budget)


def _demand_schedule(answer: Any, requests: list[Request], n_slots: int, budget: int) -> None:
    passes = _demand_answers(answer, requests, n_slots, budget)
    _, expected = _passes(plainly, requests, n_slots, budget)
    if passes == expected:
        return
    pairs = enumerate(zip(passes, expected, strict=False))
    first = next((i for i, (one, other) in pairs if one != other), min(len(passes), len(expected)))
    require(
        False,
        "The answers are right, but something else was read than the four rules say. It shows in "
        f"call {first} of `read`, counted from 0.",
        cause=_fault(passes, requests, n_slots, budget),
        cure="Write down by hand who waits, who runs and what is left of the budget in that step.",
        expected=Words(_pass_in_words(expected, first)),
        got=Words(_pass_in_words(passes, first)),
        example=_shown(requests, n_slots, budget),
    )


def _fault(passes: list, requests: list[Request], n_slots: int, budget: int) -> str:
    """Name the fault that reads exactly this."""
    for name, fault in WRONG.items():
        try:
            _, theirs = _passes(scheduler(name), requests, n_slots, budget)
        except WrongAnswer:  # some faults do not come far
            continue
        if theirs == passes:
            return fault.deed
    return NAMELESS


def _pass_in_words(passes: list[list[tuple[int, list[int]]]], which: int) -> str:
    if which >= len(passes):
        return "no such call"
    return "(start, token_ids): " + ", ".join(map(str, passes[which]))
