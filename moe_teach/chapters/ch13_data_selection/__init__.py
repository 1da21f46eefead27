"""Chapter 13: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch13_data_selection import (
    draw_rows,
    gain_given,
    my_selector,
    name_fault,
    questions,
    row_learnability,
    steps_to_save,
)

EXERCISES = (
    row_learnability.EXERCISE,
    draw_rows.EXERCISE,
    gain_given.EXERCISE,
    steps_to_save.EXERCISE,
    name_fault.EXERCISE,
    my_selector.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
