"""The loop that exercise 5.6 is compared with is the library's own."""

import pytest

from moe_teach.chapters.ch05_language_model.figures import your_curve
from moe_teach.chapters.ch05_language_model.training_runs import SLIPS, course, right_loop
from moe_teach.train.config import TrainConfig, learning_rate
from moe_teach.train.loop import train

SETTINGS = {"batch_size": 4, "seq_len": 5, "lr": 0.02, "warmup": 1, "load_balance_coef": 0.5}


class AllAsked:
    """Batches without padding, of which the library and the exercise say the same."""

    def __init__(self, batches):
        self.at = lambda step: batches.at(step).map(lambda rows: rows.clamp(min=0))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loop_of_the_exercise_trains_as_the_library_does(accumulate):
    config = TrainConfig(
        steps=4, accumulate=accumulate, balance_scope="micro_batch", clip=0.3, **SETTINGS
    )
    theirs, ours = course(0), course(0)
    history = train(theirs.model, AllAsked(theirs.batches), config, progress=False)
    losses = right_loop(
        ours.model,
        ours.optimizer,
        AllAsked(ours.batches),
        4,
        lambda step: learning_rate(step, config),
        balance_coef=0.5,
        clip=0.3,
        accumulate=accumulate,
    )

    assert losses == pytest.approx([record.task_loss for record in history.records], rel=1e-5)


def test_every_slip_changes_what_is_learned():
    right = course(0, accumulate=4, balance_coef=0.5, clip=0.3)
    losses = right.with_loop(right_loop)
    for slip in SLIPS:
        other = course(0, accumulate=4, balance_coef=0.5, clip=0.3)
        got = other.with_loop(
            lambda *given, slip=slip, **more: right_loop(*given, slip=slip, **more)
        )
        assert got != pytest.approx(losses, rel=1e-6), slip


def test_the_readers_curve_stands_over_a_band_of_seeds():
    drawing = your_curve([50, 100], {"dense": [[3.0, 2.0], [3.2, 2.1]]}, [50], [2.9])
    names = [line.get_label() for line in drawing.axes[0].lines]

    assert names == ["dense (2 stored seeds)", "your model, your loop"]
