"""Chapter 04: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import (
    _ch04_capacity,
    _ch04_combining,
    _ch04_expert,
    _ch04_questions,
    _ch04_report,
    _ch04_sorting,
)

EXERCISES = (
    _ch04_expert.EXPERT,
    _ch04_sorting.SORT,
    _ch04_combining.COMBINE,
    _ch04_capacity.CAPACITY,
    _ch04_report.REPORT,
    _ch04_report.BILL,
)
QUESTIONS = _ch04_questions.QUESTIONS
