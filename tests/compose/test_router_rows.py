"""What an installed expert changes for tokens that do not choose it: nothing, or gates alone."""

import pytest
import torch
from torch import Tensor

from moe_teach.compose.modules.installed import put_in
from moe_teach.compose.modules.packing import pack
from moe_teach.compose.slots import moe_of
from moe_teach.config import RouterConfig
from moe_teach.nn.model import Model
from tests.compose.test_modules import tiny

PLACE = (1, 2)
TEXT = torch.randint(32, (6, 14), generator=torch.Generator().manual_seed(5))


def of_rule(**rule) -> Model:
    return tiny(router=RouterConfig(n_experts=4, top_k=2, **rule)).double()


def with_module(model: Model, *, moves_row: bool) -> Model:
    """Install another expert; its row of the router is the old one, or another."""
    trained = Model(model.config).double()
    trained.load_state_dict(model.state_dict())
    layer, expert = PLACE
    moe = moe_of(trained, layer)
    with torch.no_grad():
        moe.experts.w_up[expert].neg_()
        if moves_row:
            moe.router.proj.weight[expert] += 0.3 * torch.randn(8).double()
    new = Model(model.config).double()
    new.load_state_dict(model.state_dict())
    put_in(new, pack(trained, [PLACE], "new"))
    return new.eval()


def bystanders(*models: Model) -> Tensor:
    """Say of each position whether neither it nor one before it chooses the expert, in any."""
    away = torch.ones_like(TEXT, dtype=torch.bool)
    for model in models:
        chosen = model(TEXT).routings[0].expert_ids.view(*TEXT.shape, -1)
        away &= (chosen != PLACE[1]).all(-1)
    return away.cummin(1).values


def test_with_the_old_row_nothing_moves_by_a_bit_for_those_who_do_not_choose_it() -> None:
    old = of_rule()
    new = with_module(old, moves_row=False)
    before, after = old(TEXT), new(TEXT)
    away = bystanders(old, new)

    assert away.any() and not away.all()
    assert torch.equal(before.routings[0].gates, after.routings[0].gates)
    assert torch.equal(before.logits[away], after.logits[away])
    assert not torch.equal(before.logits[~away], after.logits[~away])


@pytest.mark.parametrize(
    ("rule", "stays"),
    [
        ({"normalize_gates": True}, True),
        ({"normalize_gates": True, "topk_first": True}, True),
        ({"normalize_gates": False, "score_fn": "sigmoid"}, True),
        ({"normalize_gates": False}, False),
    ],
    ids=str,
)
def test_another_row_moves_the_others_only_where_gates_are_shares_of_all(rule, stays) -> None:
    old = of_rule(**rule)
    new = with_module(old, moves_row=True)
    away = bystanders(old, new)
    moved = (old(TEXT).logits - new(TEXT).logits)[away].abs().max()

    assert away.any()
    assert moved < 1e-12 if stays else moved > 1e-6
