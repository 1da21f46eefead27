"""Chapter 09: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch09_triton_dispatch import (
    combine_rows,
    copy_and_sign,
    count_choices,
    finish_layer,
    gather_rows,
    is_right,
    place_choices,
    questions,
)

EXERCISES = (
    copy_and_sign.EXERCISE,
    count_choices.EXERCISE,
    place_choices.EXERCISE,
    gather_rows.EXERCISE,
    combine_rows.EXERCISE,
    is_right.EXERCISE,
    finish_layer.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
