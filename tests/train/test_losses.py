"""The total loss is the task plus what the routings ask for, and parts sum to the whole."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from moe_teach.data.batches import NO_TARGET
from moe_teach.nn.model import ModelOutput
from moe_teach.ops.balance import tokens_per_expert
from moe_teach.ops.losses import load_balance_loss, router_z_loss, sequence_balance_loss
from moe_teach.train.losses import Whole, total_loss
from moe_teach.types import Routing


def routing_of(logits: torch.Tensor, k: int = 2) -> Routing:
    probs = logits.softmax(-1)
    gates, expert_ids = probs.topk(k)
    return Routing(logits, probs, gates, expert_ids)


def output_of(n_sequences: int = 4, length: int = 5, n_layers: int = 3) -> ModelOutput:
    routings = [routing_of(torch.randn(n_sequences * length, 7)) for _ in range(n_layers)]
    return ModelOutput(torch.randn(n_sequences, length, 11), tuple(routings))


def test_the_total_is_the_task_plus_the_layers_mean_losses():
    output, targets = output_of(), torch.randint(0, 11, (4, 5))
    parts = total_loss(output, targets, load_balance_coef=0.3, z_loss_coef=0.02)

    task = F.cross_entropy(output.logits.flatten(0, 1), targets.flatten())
    balance = sum(load_balance_loss(routing) for routing in output.routings) / 3
    z = sum(router_z_loss(routing) for routing in output.routings) / 3
    torch.testing.assert_close(parts.task, task)
    torch.testing.assert_close(parts.load_balance, balance)
    torch.testing.assert_close(parts.z, z)
    torch.testing.assert_close(parts.total, task + 0.3 * balance + 0.02 * z)


def test_a_dense_model_has_the_task_alone():
    output, targets = output_of(n_layers=0), torch.randint(0, 11, (4, 5))
    parts = total_loss(output, targets, load_balance_coef=1.0, z_loss_coef=1.0)
    assert parts.total == parts.task
    assert parts.load_balance == parts.z == 0


def test_masked_targets_count_for_nothing():
    output, targets = output_of(), torch.randint(0, 11, (4, 5))
    targets[:, ::2] = NO_TARGET
    kept = targets != NO_TARGET
    expected = F.cross_entropy(output.logits[kept], targets[kept])
    torch.testing.assert_close(total_loss(output, targets).task, expected)


def test_a_batch_without_targets_has_no_task_loss():
    assert total_loss(output_of(), torch.full((4, 5), NO_TARGET)).task == 0


def test_the_losses_of_all_parts_sum_to_those_of_the_batch():
    """Also where the targets are spread unevenly, and the experts too."""
    output, targets = output_of(), torch.randint(0, 11, (4, 5))
    targets[0, :] = NO_TARGET
    text = (targets != NO_TARGET).flatten()
    counts = [tokens_per_expert(routing, text) for routing in output.routings]
    whole = replace(Whole.of(targets), counts=counts)
    factors = {"load_balance_coef": 0.3, "z_loss_coef": 0.02}

    parts = [
        total_loss(
            ModelOutput(
                output.logits[rows],
                tuple(
                    routing_of(routing.logits[rows.start * 5 : rows.stop * 5])
                    for routing in output.routings
                ),
            ),
            targets[rows],
            whole=whole,
            **factors,
        )
        for rows in (slice(0, 1), slice(1, 4))
    ]

    together = total_loss(output, targets, **factors)
    for name in ("task", "load_balance", "z", "total"):
        summed = sum(getattr(part, name) for part in parts)
        torch.testing.assert_close(summed, getattr(together, name))


def test_the_sequence_loss_is_the_mean_of_each_sequences_own():
    routing = routing_of(torch.randn(4 * 5, 7))
    alone = [load_balance_loss(routing_of(routing.logits[i * 5 : (i + 1) * 5])) for i in range(4)]
    torch.testing.assert_close(sequence_balance_loss(routing, 4), torch.stack(alone).mean())


def test_the_sequence_loss_forbids_what_the_batch_loss_allows():
    """Each sequence lives on one expert; over the batch all experts are used alike."""
    logits = 20 * torch.eye(4).repeat_interleave(5, dim=0)
    routing = routing_of(logits, k=1)
    assert load_balance_loss(routing).item() == pytest.approx(1, abs=1e-3)
    assert sequence_balance_loss(routing, 4).item() == pytest.approx(4, abs=1e-2)


def test_the_load_has_no_gradient_but_the_probabilities_have():
    logits = torch.randn(10, 5, requires_grad=True)
    output = ModelOutput(torch.randn(2, 5, 11), (routing_of(logits),))
    targets = torch.randint(0, 11, (2, 5))
    total_loss(output, targets, load_balance_coef=1.0).total.backward()
    assert logits.grad.abs().sum() > 0
