"""Chapter 07: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import (
    _ch07_counting,
    _ch07_deepseek,
    _ch07_groups,
    _ch07_questions,
    _ch07_sequences,
    _ch07_shared,
    _ch07_splitting,
)

EXERCISES = (
    _ch07_counting.EQUAL,
    _ch07_splitting.SPLIT,
    _ch07_shared.SHARED,
    _ch07_groups.GROUPS,
    _ch07_deepseek.DEEPSEEK,
    _ch07_sequences.SEQUENCES,
)
QUESTIONS = _ch07_questions.QUESTIONS
