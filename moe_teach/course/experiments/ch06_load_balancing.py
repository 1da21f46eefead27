"""Chapter 06: a router collapses, and what each cure costs, on a toy and in a language model."""

from moe_teach.course.experiments._ch06_kinds import KINDS, measure_kinds
from moe_teach.course.experiments._ch06_text import TEXT, measure_text
from moe_teach.train.experiment import Experiment

EXPERIMENTS = (
    Experiment(
        "06_kinds",
        "Does a router collapse for every seed, what cures it, and what does each strength cost?",
        KINDS,
        measure_kinds,
        seeds=(0, 1, 2, 3, 4),
    ),
    Experiment(
        "06_text",
        "What does imbalance cost a small language model: loss, or only utilisation?",
        TEXT,
        measure_text,
    ),
)
