"""Chapter 05: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch05_language_model import (
    budget_recipe,
    evaluate_model,
    initial_loss_test,
    iso_flop_hidden,
    loss_at_budget,
    moe_block,
    questions,
    sign_flip_test,
    train_loop,
)

EXERCISES = (
    moe_block.EXERCISE,
    iso_flop_hidden.EXERCISE,
    initial_loss_test.EXERCISE,
    loss_at_budget.EXERCISE,
    sign_flip_test.EXERCISE,
    train_loop.EXERCISE,
    evaluate_model.EXERCISE,
    budget_recipe.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
