"""Chapter 00: five small exercises to meet the checks, and the lesson's questions."""

from moe_teach.chapters.ch00_start_here import (
    active_fraction,
    choose_experts,
    counterexample,
    questions,
    route_by_rule,
    tokens_that_notice,
)

EXERCISES = (
    route_by_rule.EXERCISE,
    active_fraction.EXERCISE,
    tokens_that_notice.EXERCISE,
    counterexample.EXERCISE,
    choose_experts.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
