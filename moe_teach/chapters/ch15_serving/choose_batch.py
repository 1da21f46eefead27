"""Chapter 15, exercise 15.6: an open task: batches that wake few experts."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Exercise, Goal, Words, generator, require

EXERCISE = Exercise(
    id="15.6",
    name="choose_batch",
    title="Open task: Who travels together",
    points=3,
    difficulty=4,
    importance=3,
    minutes=25,
    limit=30,
    hints=(
        "Two things decide: who must go, and who fits in cheaply. Those who must go wake experts "
        "anyway; who shares them travels for free.",
        "Begin with those who have waited for `patience` steps, or, where nobody has, with the one "
        "who has waited longest. Then add, one at a time, whoever wakes fewest new experts.",
        "awake = union of the sets of the chosen; best = min(left, key=lambda i: len(wishes[i] - "
        "awake)), with `left` sorted by waiting time, so that of equals the oldest goes.",
    ),
    explanation="A step's cost is the union of its tokens' choices, so who travels with whom "
    "matters, and batching by kind saves what specialisation offers. The price is waiting: those "
    "who fit nowhere wait for `patience` steps. Real engines do not do this by token, because a "
    "text's next choices are not known before its router ran; they do it by routing whole requests "
    "of one kind to the same replica.",
    goal=Goal(
        quantity="experts woken a step",
        unit="",
        baseline=10.62,
        target=5.8,
        more_is_better=False,
        limit="The course's own order wakes 5.67.",
        cause="Tokens of different kinds travel together.",
        cure="Let those come along who wake nobody, or few, besides those who are awake already.",
    ),
)
N_EXPERTS, TOP_K, N_WAITING, N_SLOTS, PATIENCE, N_STEPS = 16, 2, 32, 8, 12, 60


def newcomers(random: torch.Generator, n_tokens: int) -> Tensor:
    """Draw whom tokens of four kinds would wake: mostly the four experts of their kind."""
    kind = torch.randint(4, (n_tokens, 1), generator=random)
    liking = torch.where(torch.arange(N_EXPERTS) // 4 == kind, 1.0, 0.1)
    return liking.multinomial(TOP_K, generator=random)


def _demand_valid(got: Any, given: dict[str, Any]) -> list[int]:
    n_waiting, n_slots = len(given["waited"]), given["n_slots"]
    require(
        isinstance(got, list | tuple) and all(type(i) is int for i in got),
        "The answer must be a list of plain integers.",
        cause="A tensor, or numbers that were taken out of one, are not plain integers.",
        cure="`.tolist()` gives plain ones.",
        got=got,
        example=given,
    )
    require(
        len(set(got)) == len(got) == n_slots and all(0 <= i < n_waiting for i in got),
        f"{n_slots} different ones of the {n_waiting} who wait must go.",
        got=got,
        example=given,
    )
    return list(got)


def _demand_patience(got: list[int], given: dict[str, Any]) -> None:
    waited = given["waited"].tolist()
    overdue = sorted((w for w in waited if w >= given["patience"]), reverse=True)
    due = overdue[: given["n_slots"]]
    gone = sorted((waited[i] for i in got), reverse=True)[: len(due)]
    require(
        gone == due,
        "Somebody who has waited for `patience` steps was left behind.",
        cause="Whoever has waited so long goes first, whatever it wakes; of too many those who "
        "have waited longest.",
        cure="Choose them before you look at experts.",
        expected=Words(f"among those who go some who have waited {_listed(due)} steps"),
        got=Words(f"of those who go, the longest have waited {_listed(gone)}"),
        example=given,
    )


def _listed(waits: list[int]) -> str:
    return ", ".join(map(str, waits))


def _given(seed: int, n_waiting: int, n_slots: int, patience: int) -> dict[str, Any]:
    random = generator(seed)
    waited = torch.randint(0, 2 * patience, (n_waiting,), generator=random)
    expert_ids = newcomers(random, n_waiting)
    return {
        "expert_ids": expert_ids, "waited": waited, "n_slots": n_slots, "patience": patience
    }  # fmt: skip


@EXERCISE.stage("a batch")
def _batch(answer: Any, seed: int) -> None:
    for n_waiting, n_slots in ((1, 1), (5, 5), (9, 3)):
        given = _given(seed, n_waiting, n_slots, 50)
        given["waited"] = given["waited"] % 50
        _demand_valid(answer(**given), given)


@EXERCISE.stage("nobody waits for ever")
def _patience(answer: Any, seed: int) -> None:
    for n_waiting, n_slots, patience in ((9, 3, 4), (12, 8, 3), (7, 2, 1), (6, 6, 2)):
        given = _given(seed, n_waiting, n_slots, patience)
        _demand_patience(_demand_valid(answer(**given), given), given)


@EXERCISE.goal.measure
def _woken(answer: Any, seed: int) -> float:
    random = generator(1000 + seed)
    expert_ids = newcomers(random, N_WAITING)
    waited = torch.zeros(N_WAITING, dtype=torch.int64)
    total = 0
    for _ in range(N_STEPS):
        given = {
            "expert_ids": expert_ids, "waited": waited, "n_slots": N_SLOTS, "patience": PATIENCE
        }  # fmt: skip
        chosen = _demand_valid(answer(**given), given)
        _demand_patience(chosen, given)
        total += expert_ids[chosen].unique().numel()
        waited = waited + 1
        expert_ids, waited = expert_ids.clone(), waited.clone()
        expert_ids[chosen], waited[chosen] = newcomers(random, N_SLOTS), 0
    return total / N_STEPS
