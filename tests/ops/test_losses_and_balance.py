"""The auxiliary losses and the measures of balance have known values where routing is simple."""

from dataclasses import replace

import pytest
import torch

from moe_teach.ops.balance import (
    counts,
    importance,
    load,
    load_entropy,
    max_violation,
    mean_probs,
    tokens_per_expert,
    update_expert_bias,
)
from moe_teach.ops.losses import (
    importance_loss,
    load_balance_loss,
    router_z_loss,
    sequence_balance_loss,
)
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

    def chosen(bias: torch.Tensor) -> torch.Tensor:
        return torch.bincount((probs + bias).topk(2).indices.flatten(), minlength=8)

    for _ in range(300):
        bias = update_expert_bias(bias, chosen(bias), rate=0.005)

    assert max_violation(chosen(bias)) < 0.1 < max_violation(chosen(torch.zeros(8)))


def experts_chose() -> Routing:
    """Three tokens list both experts each; expert 0 took tokens 0 and 1, expert 1 only token 2."""
    blank, took = torch.zeros(3, 2), torch.tensor([[True, False], [True, False], [False, True]])
    return Routing(blank, blank, blank, torch.arange(2).expand(3, 2), took, took)


def test_where_experts_choose_their_choice_is_counted() -> None:
    routing = experts_chose()
    assert tokens_per_expert(routing).tolist() == [2, 1]
    assert torch.equal(routing.chosen, routing.kept)
    torch.testing.assert_close(load(routing), torch.tensor([2 / 3, 1 / 3]))
    dropped = replace(routing, kept=torch.zeros(3, 2, dtype=torch.bool))
    assert tokens_per_expert(dropped).tolist() == [2, 1], (
        "what capacity drops was chosen all the same"
    )


def test_choices_are_counted_group_by_group() -> None:
    ids = torch.tensor([[0, 1], [0, 2], [2, 1], [0, 2]])
    routing = Routing(torch.zeros(4, 3), torch.zeros(4, 3), torch.ones(4, 2), ids)
    groups = torch.tensor([1, 0, 1, 1])
    assert counts(routing, groups, 3).tolist() == [[1, 0, 1], [2, 2, 2], [0, 0, 0]]
    real = torch.tensor([True, True, False, True])
    assert counts(routing, groups, 3, real).tolist() == [[1, 0, 1], [2, 1, 1], [0, 0, 0]]
    assert counts(routing, torch.zeros_like(groups), 1, real)[0].equal(
        tokens_per_expert(routing, real)
    )


def padded(routing: Routing, real: torch.Tensor) -> Routing:
    """Put the tokens of `routing` where `real` says, and decisions of nobody between them."""
    logits = torch.full((len(real), routing.n_experts), 30.0)
    logits[:, 0], logits[real] = 90.0, routing.logits
    ids = torch.zeros(len(real), routing.top_k, dtype=torch.long)
    ids[real] = routing.expert_ids
    gates = torch.ones(ids.shape)
    gates[real] = routing.gates
    return Routing(logits, logits.softmax(-1), gates, ids)


REAL = torch.tensor([True] * 5 + [False] * 3 + [False] + [True] * 5 + [False] * 2)


@pytest.mark.parametrize(
    "number",
    [load_balance_loss, router_z_loss, importance_loss, tokens_per_expert, load, mean_probs],
)
def test_padding_leaves_no_trace_in_any_number(number) -> None:
    logits = torch.randn(10, 4)
    gates, ids = logits.softmax(-1).topk(2)
    text = Routing(logits, logits.softmax(-1), gates, ids)
    blown_up = padded(text, REAL)
    torch.testing.assert_close(number(blown_up, REAL), number(text))
    assert not torch.allclose(number(blown_up).float(), number(text).float()), "the mask matters"


def test_padding_leaves_no_trace_in_the_loss_of_a_sequence() -> None:
    logits = torch.randn(10, 4)
    gates, ids = logits.softmax(-1).topk(2)
    text = Routing(logits, logits.softmax(-1), gates, ids)
    plain = sequence_balance_loss(text, 2)
    torch.testing.assert_close(sequence_balance_loss(padded(text, REAL), 2, REAL), plain)
    empty_too = torch.cat([REAL, torch.zeros(8, dtype=torch.bool)])
    with_empty = sequence_balance_loss(padded(text, empty_too), 3, empty_too)
    torch.testing.assert_close(with_empty, plain)


def test_padding_takes_no_gradient() -> None:
    logits = torch.randn(16, 4, requires_grad=True)
    probs = logits.softmax(-1)
    gates, ids = probs.topk(2)
    routing = Routing(logits, probs, gates, ids)
    total = sequence_balance_loss(routing, 2, REAL) + load_balance_loss(routing, REAL)
    (total + router_z_loss(routing, REAL)).backward()
    assert torch.equal(logits.grad.abs().sum(-1) > 0, REAL)


def test_a_bias_in_bfloat16_hears_of_counts_that_bfloat16_does_not_know() -> None:
    after = update_expert_bias(torch.zeros(2).bfloat16(), torch.tensor([4097, 4095]), rate=0.5)
    assert after.tolist() == [-0.5, 0.5] and after.dtype == torch.bfloat16


def test_two_decisions_can_be_compared() -> None:
    assert even(4, 2) != even(4, 2), "equal only if they are the same record"
    assert (same := even(4, 2)) == same and len({same, same}) == 1


@pytest.mark.usefixtures("as_a_user")
def test_what_cannot_be_counted_is_refused_in_words() -> None:
    routing = even(4, 2)
    with pytest.raises(ValueError, match="True or False for each of the 4 tokens"):
        tokens_per_expert(routing, torch.ones(4))
    with pytest.raises(ValueError, match="True or False for each of the 4 tokens"):
        router_z_loss(routing, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="between 0 and n_groups - 1 = 1"):
        counts(routing, torch.tensor([0, 1, 2, 0]), 2)
    with pytest.raises(ValueError, match="one group for each of the 4 tokens"):
        counts(routing, torch.zeros(3, dtype=torch.long), 2)
    with pytest.raises(ValueError, match="do not divide into 3 sequences"):
        sequence_balance_loss(routing, 3)
    for wrong in (-1, 4, 2**40):
        broken = replace(routing, expert_ids=torch.full((4, 2), wrong))
        with pytest.raises(ValueError, match=f"contains {wrong}, but the experts are numbered 0"):
            tokens_per_expert(broken)
