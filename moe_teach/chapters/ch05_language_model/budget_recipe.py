"""Chapter 05, exercise 5.8: an open task, the lowest loss within a budget of FLOPs."""

from collections.abc import Sequence
from typing import Any

from moe_teach.chapters.ch05_language_model.fact_table import (
    BUDGET,
    LESSON,
    MOST_STEPS,
    RANGES,
    steps_of,
    try_side_by_side,
)
from moe_teach.judging.exercise import Exercise, Goal, Words, require

EXERCISE = Exercise(
    id="5.8",
    name="budget_recipe",
    title="Open task: the lowest loss for a quarter of a GFLOP",
    points=3,
    difficulty=4,
    importance=4,
    minutes=40,
    limit=90,  # it trains a model of the reader's size, perhaps on a crowded machine
    goal=Goal(
        quantity="loss on all facts",
        unit="nats",
        baseline=2.82,
        target=0.5,
        more_is_better=False,
        side_by_side=True,
        limit="0 is a model that knows every fact; how near 0.25 GFLOP can come nobody knows.",
        cause="A dense net pays for every parameter at every fact: the course found none below "
        "1.15. Or the steps are too few, the rate is too low, or the net is too wide to be moved "
        "often.",
        cure="Count what a step costs. Experts add room at no cost but their row in the router. "
        "Smaller batches and narrower vectors buy steps; more steps want the right learning rate: "
        "try 0.01 to 0.04.",
    ),
    hints=(
        "Two things run out: FLOPs and room. Which of the numbers of a recipe cost FLOPs at every "
        "fact, and which add room only?",
        "Start from the lesson's numbers and change one at a time with `try_recipe`: first the "
        "learning rate, then the batch, then the experts, then the width.",
        "16 experts of 24 hidden units on vectors of width 16, one expert for a fact, batches of "
        "128 and a learning rate of 0.025 reach the goal. Go on from there: more experts, two at "
        "a time, smaller batches.",
    ),
    explanation="A step of the dense net costs what its parameters weigh, so room and steps fight "
    "for one budget. Experts end the fight: 24 of them cost hardly more than one. What is left is "
    "the trade between steps, batch and width, and the learning rate, which alone is worth half a "
    "nat. It was searched here for the experts; was the dense net's own best found as carefully? "
    "That question belongs to every table of this kind.",
)


def _require_number(recipe: Any, name: str, low: float, high: float, is_whole: bool) -> None:
    value = recipe[name]
    kind = "a whole number" if is_whole else "a number"
    is_of_kind = type(value) is int or (type(value) is float and not is_whole)
    require(
        is_of_kind and low <= value <= high,
        f"`{name}` must be {kind} from {low:g} to {high:g}.",
        cause="It came as another type, such as 16.0 for 16, or lies outside.",
        cure="Write a plain Python number inside the range.",
        got=value,
    )


@EXERCISE.stage("recipe")
def _recipe_form(answer: Any, seed: int) -> None:
    recipe = answer()
    names = sorted(LESSON)
    require(
        isinstance(recipe, dict) and sorted(recipe) == names,
        "This is not a dict with exactly the six names of a recipe.",
        cause="One is missing, spelled otherwise, or too many.",
        cure='Start from {"width": 32, "n_experts": 1, "top_k": 1, "d_ff": 64, "batch": 256, '
        '"lr": 0.004}.',
        expected=Words(", ".join(names)),
        got=Words(", ".join(map(str, recipe))) if isinstance(recipe, dict) else recipe,
    )
    for name, (low, high) in RANGES.items():
        _require_number(recipe, name, low, high, is_whole=True)
    _require_number(recipe, "lr", 1e-5, 1.0, is_whole=False)
    require(
        recipe["top_k"] <= recipe["n_experts"],
        "There are fewer experts than work on a fact.",
        cause="`top_k` is larger than `n_experts`.",
        cure="A dense net has one expert, and top_k 1.",
        got=recipe,
    )


@EXERCISE.stage("budget")
def _recipe_budget(answer: Any, seed: int) -> None:
    recipe = answer()
    n_steps = steps_of(recipe)
    require(
        1 <= n_steps <= MOST_STEPS,
        f"The budget of {BUDGET / 1e9:g} GFLOP pays for {n_steps:,} steps of this recipe, and 1 to "
        f"{MOST_STEPS:,} are allowed.",
        cause="A step is dearer than the whole budget, or so cheap that the check would never end.",
        cure="Smaller: width, d_ff, top_k or batch. For fewer steps, a larger batch.",
        got=recipe,
    )


@EXERCISE.goal.measure
def _recipe_losses(answer: Any, seeds: Sequence[int]) -> list[float]:
    return try_side_by_side(answer(), seeds)
