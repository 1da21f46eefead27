"""Chapter 08: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch08_real_models import (
    fuse_experts,
    my_block,
    name_the_rule,
    questions,
    read_gate_up,
    repaired_block,
    where_they_part,
)

EXERCISES = (
    fuse_experts.EXERCISE,
    read_gate_up.EXERCISE,
    where_they_part.EXERCISE,
    repaired_block.EXERCISE,
    my_block.EXERCISE,
    name_the_rule.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
