"""Chapter 03: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch03_router import (
    judge_choices,
    noisy_topk_route,
    quantise_router,
    questions,
    route_test,
    router_gradient_norm,
    sigmoid_route,
    stable_topk_with_margin,
    topk_route,
)

EXERCISES = (
    topk_route.EXERCISE,
    noisy_topk_route.EXERCISE,
    sigmoid_route.EXERCISE,
    router_gradient_norm.EXERCISE,
    stable_topk_with_margin.EXERCISE,
    judge_choices.EXERCISE,
    route_test.EXERCISE,
    quantise_router.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
