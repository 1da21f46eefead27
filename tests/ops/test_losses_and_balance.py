"""The auxiliary losses and the measures of balance have known values where routing is simple."""

from dataclasses import replace

import pytest
import torch

from moe_teach.ops.balance import (
    importance,
    load,
    load_entropy,
    max_violation,
    mean_probs,
    tokens_per_expert,
    update_expert_bias,
)
from moe_teach.ops.losses import importance_loss, load_balance_loss, router_z_loss
from moe_teach.types import Routing


def even(n_experts: int, top_k: int) -> Routing:
    logits = torch.zeros(n_experts, n_experts)
    ids = (torch.arange(n_experts)[:, None] + torch.arange(top_k)) % n_experts
    return Routing(logits, logits.softmax(-1), torch.full(ids.shape, 1 / top_k), ids)


def collapsed(n_experts: int) -> Routing:
    logits = torch.zeros(6, n_experts)
    logits[:, 0] = 100.0
    return Routing(
        logits, logits.softmax(-1), torch.ones(6, 1), torch.zeros(6, 1, dtype=torch.long)
    )


def nobody(n_experts: int = 4) -> Routing:
    blank = torch.zeros(0, n_experts)
    return Routing(blank, blank, blank[:, :2], torch.zeros(0, 2, dtype=torch.long))


@pytest.mark.parametrize(("n_experts", "top_k"), [(1, 1), (4, 1), (4, 2), (8, 8), (7, 3)])
def test_even_routing_scores_one_for_every_number_of_experts_and_choices(n_experts, top_k) -> None:
    torch.testing.assert_close(load_balance_loss(even(n_experts, top_k)), torch.tensor(1.0))


def test_collapse_scores_the_number_of_experts() -> None:
    torch.testing.assert_close(load_balance_loss(collapsed(5)), torch.tensor(5.0))


def test_the_loss_pushes_down_the_busy_expert_and_only_through_the_probabilities() -> None:
    logits = torch.zeros(6, 4, requires_grad=True)
    probs = logits.softmax(-1)
    ids = torch.tensor([[0], [0], [0], [0], [1], [2]])

    load_balance_loss(Routing(logits, probs, probs.gather(-1, ids), ids)).backward()

    push = logits.grad.sum(dim=0)
    assert push[0] > 0 > push[3] and push.argmax() == 0


def test_sigmoid_routers_cannot_escape_by_making_all_probabilities_small() -> None:
    logits = torch.randn(20, 6)
    ids = logits.topk(2).indices
    losses = [
        load_balance_loss(Routing(logits, probs, probs.gather(-1, ids), ids))
        for probs in (logits.sigmoid(), logits.sigmoid() / 1000)
    ]
    torch.testing.assert_close(losses[0], losses[1])


def test_z_loss_is_the_squared_log_sum_exp_and_sees_shifts() -> None:
    routing = even(4, 1)
    torch.testing.assert_close(router_z_loss(routing), torch.tensor(4.0).log().square())
    shifted = Routing(routing.logits + 5, routing.probs, routing.gates, routing.expert_ids)
    torch.testing.assert_close(router_z_loss(shifted), (torch.tensor(4.0).log() + 5).square())


def test_z_loss_does_not_round_bfloat16_logits_further() -> None:
    logits, rest = torch.randn(8, 8).bfloat16(), even(8, 1)
    loss = router_z_loss(Routing(logits, rest.probs, rest.gates, rest.expert_ids))
    torch.testing.assert_close(loss, logits.float().logsumexp(-1).square().mean())


def test_importance_loss_is_zero_when_even_and_one_less_than_the_experts_at_collapse() -> None:
    torch.testing.assert_close(importance_loss(even(6, 2)), torch.tensor(0.0))
    torch.testing.assert_close(importance_loss(collapsed(6)), torch.tensor(5.0))


def test_importance_adds_up_the_gates_each_expert_was_given() -> None:
    ids = torch.tensor([[0, 2], [2, 1]])
    gates = torch.tensor([[0.7, 0.3], [0.6, 0.4]])
    blank = torch.zeros(2, 3)
    totals = importance(Routing(blank, blank, gates, ids))
    torch.testing.assert_close(totals, torch.tensor([0.7, 0.4, 0.9]))


def test_counts_and_load() -> None:
    routing = collapsed(3)
    assert tokens_per_expert(routing).tolist() == [6, 0, 0]
    assert load(routing).tolist() == [1.0, 0.0, 0.0]
    assert load(torch.tensor([3, 1, 0])).tolist() == [0.75, 0.25, 0.0], "summed counts do as well"


def test_dropped_choices_still_count_because_the_router_made_them() -> None:
    full = collapsed(3)
    limited = replace(full, kept=torch.arange(6)[:, None] < 2)
    assert torch.equal(load_balance_loss(limited), load_balance_loss(full))


def test_measures_reach_their_ends() -> None:
    assert max_violation(even(8, 2)).item() == pytest.approx(0, abs=1e-6)
    assert max_violation(collapsed(8)).item() == pytest.approx(7)
    assert load_entropy(even(8, 2)).item() == pytest.approx(1)
    assert load_entropy(collapsed(8)).item() == 0
    assert load_entropy(even(1, 1)).item() == 1


def test_no_tokens_are_no_evidence_and_no_nan() -> None:
    for loss in (load_balance_loss, router_z_loss, importance_loss):
        assert loss(nobody()).item() == 0
    torch.testing.assert_close(load(nobody()), torch.full((4,), 0.25))
    assert mean_probs(nobody()).tolist() == [0.0] * 4
    assert max_violation(nobody()).item() == 0 and load_entropy(nobody()).item() == 1


def test_the_bias_moves_by_one_step_against_the_imbalance() -> None:
    bias = torch.tensor([0.5, 0.0, -0.5])
    after = update_expert_bias(bias, torch.tensor([9, 3, 0]), rate=0.1)
    torch.testing.assert_close(after, torch.tensor([0.4, 0.1, -0.4]))
    assert bias.tolist() == [0.5, 0.0, -0.5], "the update returns, it does not write"
    assert torch.equal(update_expert_bias(bias, torch.tensor([4, 4, 4]), rate=0.1), bias)


def test_following_the_bias_rule_evens_out_a_skewed_router() -> None:
    probs = (torch.randn(512, 8) + torch.linspace(0, 2, 8)).sigmoid()
    bias = torch.zeros(8)

    def counts(bias: torch.Tensor) -> torch.Tensor:
        return torch.bincount((probs + bias).topk(2).indices.flatten(), minlength=8)

    for _ in range(300):
        bias = update_expert_bias(bias, counts(bias), rate=0.005)

    assert max_violation(counts(bias)) < 0.1 < max_violation(counts(torch.zeros(8)))
