"""Chapter 03: its exercises and the lesson's questions, in their order."""

from moe_teach.course.checks import (
    _ch03_audit,
    _ch03_bias,
    _ch03_margins,
    _ch03_questions,
    _ch03_steering,
    _ch03_topk,
)

EXERCISES = (
    _ch03_topk.TOPK,
    _ch03_steering.NOISY,
    _ch03_bias.SIGMOID,
    _ch03_audit.GRADIENT,
    _ch03_margins.STABLE,
    _ch03_margins.CHANGED,
)
QUESTIONS = _ch03_questions.QUESTIONS
