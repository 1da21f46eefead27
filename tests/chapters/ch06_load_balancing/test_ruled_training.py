"""The toy under a rule of the reader's own is the lesson's toy, and the rule has three doors."""

import pytest
import torch

from moe_teach.chapters.ch06_load_balancing.experiments.kinds import (
    N_TEST,
    Setting,
    train_kinds,
)
from moe_teach.chapters.ch06_load_balancing.ruled_training import (
    train_side_by_side,
    train_with,
)
from moe_teach.ops.balance import update_expert_bias


class Rule:
    """Nothing, or the Switch loss, or the bias of the lesson; it remembers what it was shown."""

    strength, rate = 0.0, 0.0

    def __init__(self, n_experts, d_model, n_steps):
        self.made_with = (n_experts, d_model, n_steps)
        self.shown, self.moved = [], torch.zeros(n_experts)
        last.append(self)

    def see(self, x, training):
        self.shown.append((len(x), training))
        return x

    def loss(self, probs, expert_ids, step):
        load = torch.bincount(expert_ids.flatten(), minlength=8) / expert_ids.numel()
        return self.strength * 8 * (load * probs.mean(0)).sum()

    def bias(self, expert_ids, step):
        counts = torch.bincount(expert_ids.flatten(), minlength=8)
        self.moved = update_expert_bias(self.moved, counts, self.rate)
        return self.moved


last = []


def ruled(**how):
    return type("Ruled", (Rule,), how)


@pytest.mark.parametrize(
    ("how", "setting"),
    [
        ({}, Setting(steps=30)),
        ({"strength": 0.1}, Setting(load_balance_coef=0.1, steps=30)),
        ({"rate": 0.01}, Setting(bias_update_rate=0.01, steps=30)),
    ],
)
def test_the_lessons_ways_are_rules_too(how, setting):
    run, expected = train_with(ruled(**how), seed=3, n_steps=30), train_kinds(setting, 3)

    assert torch.equal(run.counts, expected.counts)
    assert torch.equal(run.test_counts, expected.test_counts)
    assert run.accuracy == expected.accuracy


def test_toys_side_by_side_are_the_same_toys_alone():
    how = {"strength": 0.1, "rate": 0.01}

    together = train_side_by_side(ruled(**how), [4, 0, 4], n_steps=30)

    alone = [train_with(ruled(**how), seed, n_steps=30) for seed in (4, 0)]
    assert torch.equal(together[0].counts, together[2].counts)
    for run, expected in zip(together, alone, strict=False):
        assert torch.equal(run.counts[:5], expected.counts[:5])
        assert run.accuracy == pytest.approx(expected.accuracy, abs=0.01)


def test_a_rule_is_made_anew_and_told_when_the_test_begins():
    train_with(Rule, seed=0, n_steps=3)
    train_with(Rule, seed=0, n_steps=2)

    assert last[-1] is not last[-2]
    assert last[-1].made_with == (8, 16, 2)
    assert last[-1].shown == [(128, True)] * 2 + [(N_TEST, False)]


def test_a_rule_that_gives_one_expert_everything_has_the_largest_violation():
    def bias(self, expert_ids, step):
        return 9 * torch.nn.functional.one_hot(torch.tensor(5), 8).float()

    run = train_with(ruled(bias=bias), seed=0, n_steps=4)

    assert run.test_counts.tolist() == [0] * 5 + [N_TEST, 0, 0]
    assert run.violation == pytest.approx(7)
