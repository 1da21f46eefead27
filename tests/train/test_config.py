"""What a run may be asked to do, and the learning rate that follows."""

import math

import pytest

from moe_teach.train.config import TrainConfig, learning_rate


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 10, "lr": -1.0}, "lr"),
        ({"steps": 10, "clip": math.nan}, "clip"),
        ({"steps": 10, "warmup": 11}, "warm-up"),
        ({"steps": 10, "warmup": 0, "batch_size": 16, "accumulate": 3}, "accumulate must divide"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(settings, word):
    with pytest.raises(ValueError, match=word) as refusal:
        TrainConfig(**settings)
    assert str(refusal.value).endswith(".")


def test_the_learning_rate_climbs_to_lr_and_falls_to_its_share():
    config = TrainConfig(steps=50, warmup=5, lr=2.0, min_lr_ratio=0.1)
    rates = [learning_rate(step, config) for step in range(50)]

    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates[5] == 2.0
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(0.2)
    middle = 5 + (49 - 5) // 2
    assert rates[middle] == pytest.approx((2.0 + 0.2) / 2)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_short_runs_have_a_learning_rate(steps):
    config = TrainConfig(steps=steps, warmup=1, lr=1.0)
    assert all(0 < learning_rate(step, config) <= 1.0 for step in range(steps))
