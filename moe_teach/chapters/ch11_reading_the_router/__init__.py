"""Chapter 11: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch11_reading_the_router import (
    damage,
    experts_to_keep,
    information,
    my_audit,
    null_within,
    path_divergence,
    questions,
    wrong_claim,
)

EXERCISES = (
    information.EXERCISE,
    null_within.EXERCISE,
    damage.EXERCISE,
    path_divergence.EXERCISE,
    wrong_claim.EXERCISE,
    experts_to_keep.EXERCISE,
    my_audit.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
