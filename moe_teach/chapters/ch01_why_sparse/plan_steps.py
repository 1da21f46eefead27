"""Exercise 1.8: open task: who should decode together?."""

import math
import random
from numbers import Integral
from typing import Any

from moe_teach.judging.exercise import Exercise, Goal, Words, require

N_SEQUENCES, N_EXPERTS, TOP_K, N_TOGETHER = 64, 16, 2, 8
N_TOPICS, PER_TOPIC, STRAYS = 8, 6, 0.25  # experts that a topic prefers; share of other choices

EXERCISE = Exercise(
    id="1.8",
    name="plan_steps",
    title="Open task: who should decode together?",
    points=2,
    difficulty=3,
    importance=4,
    minutes=20,
    needs=("1.5",),
    hints=(
        "A sequence is cheap for a step that has woken its experts already.",
        "Fill one step after another: begin with any sequence, then take, again and again, one "
        "that wakes the fewest new experts.",
        "Afterwards, look for two sequences in different steps whose exchange lowers the number "
        "of experts of the two steps together; exchange them, and go on until none is left.",
    ),
    explanation="A step costs what it reads, so company decides the price of a token. In the order "
    "of arrival eight sequences wake as many experts as the formula of the lesson says, 10.5. The "
    "same work in another order needs about half of the reading. Serving systems begin to use "
    "this: one moves tokens to experts that others of the batch have woken already (Oncescu et al. "
    "2025, arXiv 2511.02237). What our task leaves out: a model has dozens of such layers with "
    "different choices, and the choices are known only once the router has spoken.",
    goal=Goal(
        quantity="experts read by a step",
        unit="",
        baseline=10.33,
        target=6.2,
        more_is_better=False,
        limit="A million exchanges of pairs reach 4.67; the best possible is not known.",
        cause="Steps are filled without looking at what they have woken, or the sequences are "
        "sorted by one of their two experts only.",
        cure="Keep the set of experts that a step has woken; add the waiting sequence with the "
        "fewest experts outside it.",
    ),
)


def draw_choices(seed: int, n_sequences: int, n_experts: int, top_k: int) -> list[list[int]]:
    """Draw the experts that each waiting sequence needs next; sequences have topics."""
    draw = random.Random(f"1.8 {seed} {n_sequences} {n_experts} {top_k}")
    size = min(PER_TOPIC, n_experts)
    topics = [draw.sample(range(n_experts), size) for _ in range(N_TOPICS)]
    rows = []
    for _ in range(n_sequences):
        topic, row = draw.choice(topics), []
        while len(row) < top_k:
            stray = draw.random() < STRAYS or size < top_k
            expert = draw.randrange(n_experts) if stray else draw.choice(topic)
            if expert not in row:
                row.append(expert)
        rows.append(row)
    return rows


def n_woken(expert_ids: list[list[int]], step: list[int]) -> int:
    """Count the different experts that the sequences of a step need."""
    return len({expert for sequence in step for expert in expert_ids[sequence]})


def _planned(answer: Any, expert_ids: list[list[int]], n_together: int) -> list[list[int]]:
    """Call the answer and turn away what is no plan for all sequences."""
    got = answer([list(row) for row in expert_ids], n_together)
    example = {"expert_ids": expert_ids, "n_together": n_together}
    require(
        isinstance(got, list | tuple)
        and all(isinstance(step, list | tuple) for step in got)
        and all(isinstance(i, Integral) for step in got for i in step),
        "This is no list of steps, each a list of the positions of its sequences.",
        cause="The steps were joined, or rows of experts stand where positions belong.",
        cure="Return something of the form [[0, 2], [1, 3]]: row 0 decodes together with row 2.",
        got=got,
        example=example,
    )
    require(
        sorted(i for step in got for i in step) == list(range(len(expert_ids))),
        "Not every sequence decodes exactly once.",
        cause="A sequence was left waiting at the end, stands in two steps, or is counted from 1.",
        cure="Take a sequence off the waiting list in the moment in which you put it in a step.",
        expected=Words(f"each of 0 to {len(expert_ids) - 1} once"),
        got=got,
        example=example,
    )
    _require_full_steps(got, n_together, example)
    return [list(step) for step in got]


def _require_full_steps(got: Any, n_together: int, example: dict[str, Any]) -> None:
    require(
        max(map(len, got)) <= n_together,
        f"A step has {max(map(len, got))} sequences, and {n_together} is all that fits.",
        cause="The last ones were added to a full step, or alike sequences were never divided.",
        cure="Begin a new step when one has n_together sequences.",
        got=got,
        example=example,
    )
    n_steps = math.ceil(len(example["expert_ids"]) / n_together)
    require(
        len(got) == n_steps,
        f"The plan has {len(got)} steps, where {n_steps} are enough.",
        cause="Steps were left before they were full, or an empty one was begun. Each step costs "
        "its users time, so their number is not yours to raise.",
        cure="Fill every step before you begin another; only the last one may be smaller.",
        expected=n_steps,
        got=len(got),
        example=example,
    )


@EXERCISE.stage("small plans")
def _smallest(answer: Any, seed: int) -> None:
    _planned(answer, [[0], [0], [0]], 2)  # all alike
    for n_sequences, n_together in ((1, 1), (1, 3), (2, 5), (3, 1)):
        _planned(answer, draw_choices(seed, n_sequences, 3, 1), n_together)


@EXERCISE.stage("every sequence once")
def _plans(answer: Any, seed: int) -> None:
    for n_sequences, n_together, top_k in ((4, 2, 1), (11, 4, 2), (13, 5, 3), (15, 5, 2)):
        _planned(answer, draw_choices(seed, n_sequences, 7, top_k), n_together)
    _planned(answer, [[3, 1]] * 10, 3)
    _planned(answer, [[0], [1], [2], [3], [4]], 2)  # nothing in common


@EXERCISE.goal.measure  # type: ignore[union-attr]
def _experts_of_a_step(answer: Any, seed: int) -> float:
    expert_ids = draw_choices(seed, N_SEQUENCES, N_EXPERTS, TOP_K)
    plan = _planned(answer, expert_ids, N_TOGETHER)
    return sum(n_woken(expert_ids, step) for step in plan) / len(plan)
