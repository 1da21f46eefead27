"""Chapter 06: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch06_load_balancing import (
    balance_report,
    balanced_training,
    bias_update,
    load_balance_loss,
    my_balance,
    my_diagnoses,
    questions,
    repaired_step,
    router_z_loss,
)

EXERCISES = (
    load_balance_loss.EXERCISE,
    router_z_loss.EXERCISE,
    bias_update.EXERCISE,
    balance_report.EXERCISE,
    my_diagnoses.EXERCISE,
    repaired_step.EXERCISE,
    balanced_training.EXERCISE,
    my_balance.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
