"""A router of transformers told to decide otherwise does what our layer does, told the same."""

import pytest
import torch
from torch import nn

from moe_teach.analysis.interventions.capacity import with_capacity
from moe_teach.analysis.interventions.knock_out import without, without_expert
from moe_teach.analysis.routes.hooks import blocks_of
from moe_teach.analysis.routes.rerouting import rerouted
from moe_teach.checkpoint.blocks import moe_from, weights_from
from moe_teach.nn.moe import MoE
from moe_teach.ops.capacity import apply_capacity, capacity_of
from tests.analysis.published import PUBLISHED, Alone, alone

pytest.importorskip("transformers")

CLOSED = {"DBRX", "Llama-4", "Switch", "DeepSeek-V4, hash layer"}  # cannot be told otherwise
OPEN = [case for case in PUBLISHED if case.name not in CLOSED]


def ours_of(model: Alone, layer: int) -> nn.Module:
    """The same block as our layer, a model of one."""
    moe = MoE.build(model.width, moe_from(model.config, layer))
    moe.load_state_dict(weights_from(model.block.state_dict(), model.config, layer))
    return nn.ModuleList([moe.eval()])


def answer(model: Alone, at, change) -> torch.Tensor:
    with rerouted(at, change):
        y = model.block(*model.inputs((3, 17)))
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("case", OPEN, ids=lambda case: case.name)
@torch.no_grad()
def test_without_an_expert_and_under_a_capacity_both_answer_the_same(case):
    model = alone(case.name)
    (at,), ours = blocks_of(model), ours_of(model, case.layer or 0)
    x, rule = model.inputs((3, 17))[0], at.moe.router
    bias = torch.zeros(rule.n_experts) if at.bias() is None else at.bias()
    before = ours[0](x)[0]
    expert = int(torch.bincount(ours[0](x)[1].expert_ids.flatten()).argmax())

    closed = answer(model, at, lambda routing: without(routing, expert, rule, bias))
    with without_expert(ours, 0, expert):
        torch.testing.assert_close(closed, ours[0](x)[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(closed, before, atol=1e-3)

    room = capacity_of(3 * 17, rule.n_experts, rule.top_k, 1.0)
    limited = answer(model, at, lambda routing: apply_capacity(routing, room, "first_come"))
    expected = with_capacity(ours, 1.0)[0](x)[0]
    torch.testing.assert_close(limited, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(limited, before, atol=1e-3)

    same = answer(model, at, lambda routing: routing)
    assert torch.equal(same, answer(model, at, lambda routing: routing))
    torch.testing.assert_close(same, before, atol=1e-5, rtol=1e-4)
    assert not at.router._forward_hooks, "hooks are taken off"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("DBRX", "router of dbrx does not answer logits, gates and expert ids"),
        ("Llama-4", "router of llama4_text does not answer"),
        ("Switch", "router of switch_transformers does not answer"),
        ("DeepSeek-V4, hash layer", "tokens do not choose by a ranking"),
    ],
)
def test_a_router_that_cannot_be_told_otherwise_is_said(name, told):
    (at,) = blocks_of(alone(name))
    with pytest.raises(ValueError, match=told), rerouted(at, lambda routing: routing):
        pass
