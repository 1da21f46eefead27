"""Chapter 01: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import (
    _ch01_counting,
    _ch01_deciding,
    _ch01_questions,
    _ch01_solving,
    _ch01_using,
)

EXERCISES = (
    _ch01_counting.COUNT_PARTS,
    _ch01_using.COUNT_ACTIVE,
    _ch01_using.ANSWER_FLOPS,
    _ch01_solving.SOLVE,
    _ch01_deciding.DISTINCT,
    _ch01_deciding.BREAK_EVEN,
)
QUESTIONS = _ch01_questions.QUESTIONS
