"""Chapter 00: three small exercises to meet the checks, and the lesson's questions."""

from moe_teach.course.checks import _ch00_counts, _ch00_questions, _ch00_rules

EXERCISES = (
    _ch00_rules.ROUTE_BY_RULE,
    _ch00_counts.ACTIVE_FRACTION,
    _ch00_counts.WHO_NOTICES,
)
QUESTIONS = _ch00_questions.QUESTIONS
