"""Chapter 10: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch10_triton_experts import (
    down_kernel,
    ffn_roofline,
    find_tile_kernel,
    gathered_matmul_kernel,
    grouped_product,
    is_right,
    kernel_layer,
    questions,
    tile_order,
    weight_gradient_kernel,
)

EXERCISES = (
    gathered_matmul_kernel.EXERCISE,
    find_tile_kernel.EXERCISE,
    down_kernel.EXERCISE,
    weight_gradient_kernel.EXERCISE,
    ffn_roofline.EXERCISE,
    kernel_layer.EXERCISE,
    grouped_product.EXERCISE,
    is_right.EXERCISE,
    tile_order.EXERCISE,
)
QUESTIONS = questions.QUESTIONS
