"""Chapter 01: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch01_why_sparse import (
    answer_flops,
    break_even,
    count_active,
    count_parts,
    expected_distinct,
    plan_steps,
    questions,
    solve_model,
    trust,
)

EXERCISES = (
    count_parts.EXERCISE,
    count_active.EXERCISE,
    answer_flops.EXERCISE,
    solve_model.EXERCISE,
    expected_distinct.EXERCISE,
    break_even.EXERCISE,
    trust.EXERCISE,
    plan_steps.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
