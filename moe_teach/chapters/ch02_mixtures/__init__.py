"""Chapter 02: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch02_mixtures import (
    accepts,
    competitive_gradients,
    expert,
    mixture_nll,
    own_error,
    questions,
    soft_mixture,
    sparse_mixture,
    top_k_mask,
)

EXERCISES = (
    expert.EXERCISE,
    soft_mixture.EXERCISE,
    competitive_gradients.EXERCISE,
    mixture_nll.EXERCISE,
    top_k_mask.EXERCISE,
    sparse_mixture.EXERCISE,
    accepts.EXERCISE,
    own_error.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
