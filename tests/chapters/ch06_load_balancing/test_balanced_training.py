"""The toy of exercise 6.7, and the training that it is compared with."""

import torch

from moe_teach.chapters.ch06_load_balancing.balanced_parts import (
    SLIPS,
    model_and_optimizer,
    right,
)
from moe_teach.chapters.ch06_load_balancing.balanced_training import SMALL
from moe_teach.chapters.ch06_load_balancing.kinds_model import KindsBatches, experts_in_use


def _trained(cure: str, slip: str = "") -> torch.Tensor:
    model, optimizer = model_and_optimizer(SMALL[1], 0)
    right(model, optimizer, KindsBatches(0), 4, 0.005, cure, 0.05, slip=slip)
    return torch.cat([parameter.flatten() for parameter in model.parameters()]).detach()


def test_a_step_has_one_batch_and_the_test_is_never_trained_on() -> None:
    batches = KindsBatches(3)

    assert torch.equal(batches.at(7).inputs, batches.at(7).inputs)
    assert not torch.equal(batches.at(7).inputs, batches.at(8).inputs)
    seen = {row.tobytes() for row in batches.at(7).inputs.numpy()}
    assert not seen & {row.tobytes() for row in batches.test.inputs.numpy()}


def test_every_slip_of_the_bias_trains_another_model() -> None:
    expected = _trained("bias")
    for slip in set(SLIPS) - {"library"}:  # with the bias there is no balancing loss to mistake
        assert not torch.equal(_trained("bias", slip), expected), slip


def test_experts_in_use_are_counted_on_new_tokens() -> None:
    model, _ = model_and_optimizer(SMALL[1], 0)
    with torch.no_grad():
        model.layer.router.weight.zero_()
        model.layer.router.weight[:2, 0] = 1.0  # the shared part of all tokens is positive

    assert experts_in_use(model, KindsBatches(0)) == 2
