"""Chapter 15: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch15_serving import (
    choose_batch,
    distinct_experts,
    is_right,
    latency_summary,
    questions,
    serve,
    store_rows,
)

EXERCISES = (
    store_rows.EXERCISE,
    serve.EXERCISE,
    latency_summary.EXERCISE,
    distinct_experts.EXERCISE,
    is_right.EXERCISE,
    choose_batch.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
