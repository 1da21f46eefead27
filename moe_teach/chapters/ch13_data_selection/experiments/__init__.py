"""Chapter 13: what choosing the data saves, in steps, in operations and in seconds."""

from moe_teach.chapters.ch13_data_selection.experiments import joint
from moe_teach.chapters.ch13_data_selection.experiments.joint import measure_matching
from moe_teach.chapters.ch13_data_selection.experiments.stream import (
    COMPARED,
    LENGTHS,
    RATES,
    measure_stream,
)
from moe_teach.train.experiment import Experiment
from moe_teach.train.horizons import search

SEARCH_SEEDS = (10,)
EXPERIMENTS = (
    Experiment(
        "13_stream_rates",
        "Which learning rate does each rule of choosing like best?",
        search(COMPARED, LENGTHS[:1], RATES),
        measure_stream,
        SEARCH_SEEDS,
    ),
    Experiment(
        "13_joint_rates",
        "Which learning rate does each way of choosing pairs like best?",
        search(joint.COMPARED, joint.LENGTHS[:1], joint.RATES),
        measure_matching,
        SEARCH_SEEDS,
    ),
)
