"""Chapter 02: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch02_mixtures import (
    competitive_loss,
    expert,
    mixture_nll,
    questions,
    soft_mixture,
    sparse_mixture,
    top_k_mask,
)

EXERCISES = (
    expert.EXERCISE,
    soft_mixture.EXERCISE,
    competitive_loss.EXERCISE,
    mixture_nll.EXERCISE,
    top_k_mask.EXERCISE,
    sparse_mixture.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
