"""Chapter 02: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import _ch02_errors, _ch02_questions, _ch02_soft, _ch02_sparse

EXERCISES = (
    _ch02_soft.EXPERT,
    _ch02_soft.SOFT,
    _ch02_errors.COMPETITIVE,
    _ch02_errors.LIKELIHOOD,
    _ch02_sparse.MASK,
    _ch02_sparse.SPARSE,
)
QUESTIONS = _ch02_questions.QUESTIONS
