"""One room a chapter: exercises, their right and wrong answers, questions, figures."""

CHAPTERS = (
    "ch00_start_here",
    "ch01_why_sparse",
    "ch02_mixtures",
    "ch03_router",
    "ch04_dispatch",
    "ch05_language_model",
    "ch06_load_balancing",
    "ch07_modern_moe",
    "ch08_real_models",
    "ch09_triton_dispatch",
    "ch10_triton_experts",
    "ch11_reading_the_router",
    "ch12_specialise_and_compose",
    "ch13_data_selection",
    "ch14_memory",
    "ch15_serving",
)
"""The rooms, in the order of the course."""

WITH_EXPERIMENTS = (
    "ch02_mixtures",
    "ch05_language_model",
    "ch06_load_balancing",
    "ch07_modern_moe",
    "ch11_reading_the_router",
    "ch12_specialise_and_compose",
    "ch13_data_selection",
)
"""The rooms whose lessons draw the reader's run over stored runs of several seeds."""
