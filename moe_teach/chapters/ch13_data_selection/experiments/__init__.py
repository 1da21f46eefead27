"""Chapter 13: what choosing the data saves, in steps, in operations and in seconds."""

from moe_teach.chapters.ch13_data_selection.experiments import joint, stream
from moe_teach.chapters.ch13_data_selection.experiments.joint import measure_matching
from moe_teach.chapters.ch13_data_selection.experiments.stream import measure_stream
from moe_teach.train.experiment import Experiment

SEARCH_SEEDS = (10,)
SEEDS = (0, 1, 2, 3, 4)
EXPERIMENTS = (
    Experiment(
        "13_stream_rates",
        "Which learning rate does each rule of choosing like best?",
        stream.SEARCHED,
        measure_stream,
        SEARCH_SEEDS,
    ),
    Experiment(
        "13_stream",
        "What does choosing save on a stream with junk, and what on a clean one?",
        stream.SHORT,
        measure_stream,
        SEEDS,
    ),
    Experiment(
        "13_stream_longer",
        "The same at three times the length.",
        stream.LONGER,
        measure_stream,
        SEEDS[:3],
    ),
    Experiment(
        "13_stream_longest",
        "The same at ten times the length.",
        stream.LONGEST,
        measure_stream,
        SEEDS[:3],
    ),
    Experiment(
        "13_reference",
        "Is choosing worse on clean text because the reference learned for too short a time?",
        stream.LONG_REFERENCE,
        measure_stream,
        SEEDS[:3],
    ),
    Experiment(
        "13_filters",
        "How many candidates are worth looking at?",
        stream.FILTERS,
        measure_stream,
        SEEDS[:3],
    ),
    Experiment(
        "13_joint_rates",
        "Which learning rate does each way of choosing pairs like best?",
        joint.SEARCHED,
        measure_matching,
        SEARCH_SEEDS,
    ),
    Experiment(
        "13_joint",
        "Is a batch better when its pairs are chosen together, and is that why?",
        joint.SHORT,
        measure_matching,
        SEEDS,
    ),
    Experiment(
        "13_joint_longer",
        "The same at three times the length.",
        joint.LONGER,
        measure_matching,
        SEEDS[:3],
    ),
    Experiment(
        "13_joint_longest",
        "The same at ten times the length.",
        joint.LONGEST,
        measure_matching,
        SEEDS[:3],
    ),
)
