"""Chapter 14: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch14_memory import (
    fewest_reads,
    first_broken_rule,
    forgetful,
    my_policy,
    quantise_groups,
    questions,
    read_ahead,
)

EXERCISES = (
    quantise_groups.EXERCISE,
    forgetful.EXERCISE,
    read_ahead.EXERCISE,
    fewest_reads.EXERCISE,
    first_broken_rule.EXERCISE,
    my_policy.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
