"""Chapter 04: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch04_dispatch import (
    capacity_dispatch,
    choose_now,
    combine,
    drop_report,
    my_moe,
    padding_bill,
    questions,
    sort_dispatch,
    swiglu_expert,
    turns_away,
)

EXERCISES = (
    swiglu_expert.EXERCISE,
    sort_dispatch.EXERCISE,
    combine.EXERCISE,
    capacity_dispatch.EXERCISE,
    drop_report.EXERCISE,
    padding_bill.EXERCISE,
    my_moe.EXERCISE,
    turns_away.EXERCISE,
    choose_now.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
