"""Chapter 06: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import (
    _ch06_bias,
    _ch06_clinic,
    _ch06_losses,
    _ch06_questions,
    _ch06_repair,
    _ch06_report,
    _ch06_zloss,
)

EXERCISES = (
    _ch06_losses.BALANCE,
    _ch06_zloss.Z_LOSS,
    _ch06_bias.BIAS,
    _ch06_report.REPORT,
    _ch06_clinic.CLINIC,
    _ch06_repair.REPAIR,
)
QUESTIONS = _ch06_questions.QUESTIONS
