"""Exercise 5.8: recipes that miss the goal or the rules, and others that reach it."""

from moe_teach.chapters.ch05_language_model.budget_recipe import EXERCISE
from moe_teach.chapters.ch05_language_model.fact_table import LESSON

NARROW = {"width": 16, "n_experts": 16, "top_k": 1, "d_ff": 24, "batch": 128, "lr": 0.025}


@EXERCISE.wrong(stage="goal", says="Loss on all facts: 2.8")
def as_in_the_lesson():
    return dict(LESSON)


@EXERCISE.wrong(stage="goal", says="Loss on all facts: 1.1")
def the_best_dense_net_we_found():
    return LESSON | {"width": 20, "d_ff": 48, "batch": 48, "lr": 0.04}


@EXERCISE.wrong(stage="goal", says="Loss on all facts: 2.1")
def experts_at_the_lessons_rate():
    return NARROW | {"lr": 0.004}


@EXERCISE.wrong(stage="recipe", says="the six names")
def forgets_the_rate():
    return {name: value for name, value in NARROW.items() if name != "lr"}


@EXERCISE.wrong(stage="recipe", says="must be a whole number")
def halves_an_expert():
    return NARROW | {"d_ff": 24 / 2}


@EXERCISE.wrong(stage="recipe", says="fewer experts than work")
def lets_two_of_one_work():
    return LESSON | {"top_k": 2}


@EXERCISE.wrong(stage="budget", says="1 to 1,000 are allowed")
def spends_it_on_one_step():
    return LESSON | {"width": 128, "d_ff": 512, "batch": 1600}


@EXERCISE.right
def two_at_a_time():
    return {"width": 16, "n_experts": 24, "top_k": 2, "d_ff": 24, "batch": 48, "lr": 0.025}


@EXERCISE.right
def a_little_wider():
    return {"width": 20, "n_experts": 24, "top_k": 1, "d_ff": 20, "batch": 64, "lr": 0.03}
