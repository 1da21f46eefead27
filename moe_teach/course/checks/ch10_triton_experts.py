"""Chapter 10: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import (
    _ch10_bill,
    _ch10_epilogue,
    _ch10_gradient,
    _ch10_loop,
    _ch10_questions,
    _ch10_search,
)

EXERCISES = (
    _ch10_loop.LOOP,
    _ch10_search.SEARCH,
    _ch10_epilogue.EPILOGUE,
    _ch10_gradient.GRADIENT,
    _ch10_bill.BILL,
)
QUESTIONS = _ch10_questions.QUESTIONS
