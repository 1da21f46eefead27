"""Chapter 05: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import (
    _ch05_baselines,
    _ch05_block,
    _ch05_budget,
    _ch05_first_loss,
    _ch05_gain,
    _ch05_questions,
)

EXERCISES = (
    _ch05_block.BLOCK,
    _ch05_baselines.HIDDEN,
    _ch05_first_loss.FIRST,
    _ch05_budget.BUDGET,
    _ch05_gain.GAIN,
)
QUESTIONS = _ch05_questions.QUESTIONS
