"""Chapter 12: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch12_specialise_and_compose import (
    experts_to_train,
    fill_slots,
    merge_branches,
    my_marketplace,
    questions,
    split_upcycle,
    swap_expert,
    tune_experts,
)

EXERCISES = (
    split_upcycle.EXERCISE,
    experts_to_train.EXERCISE,
    merge_branches.EXERCISE,
    swap_expert.EXERCISE,
    tune_experts.EXERCISE,
    my_marketplace.EXERCISE,
    fill_slots.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
