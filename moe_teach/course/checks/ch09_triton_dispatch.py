"""Chapter 09: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import (
    _ch09_combining,
    _ch09_copying,
    _ch09_counting,
    _ch09_gathering,
    _ch09_placing,
    _ch09_questions,
)

EXERCISES = (
    _ch09_copying.COPY,
    _ch09_counting.COUNT,
    _ch09_placing.PLACE,
    _ch09_gathering.GATHER,
    _ch09_combining.COMBINE,
)
QUESTIONS = _ch09_questions.QUESTIONS
