"""Chapter 07: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch07_modern_moe import (
    deepseek_moe,
    equal_flop_config,
    find_fault,
    group_limited_topk,
    questions,
    route_in_room,
    sequence_balance_loss,
    shared_expert_moe,
    sigmoid_bias_route,
    upcycle,
)

EXERCISES = (
    equal_flop_config.EXERCISE,
    upcycle.EXERCISE,
    shared_expert_moe.EXERCISE,
    group_limited_topk.EXERCISE,
    sigmoid_bias_route.EXERCISE,
    sequence_balance_loss.EXERCISE,
    deepseek_moe.EXERCISE,
    find_fault.EXERCISE,
    route_in_room.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
