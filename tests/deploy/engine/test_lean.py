"""The lean pass computes what the definition computes, logits and routings."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from moe_teach.deploy.engine.cache import Piece, SlotCache
from moe_teach.deploy.engine.definition import definition
from moe_teach.deploy.engine.forward import pass_through, serving
from moe_teach.deploy.engine.lean import LeanForward
from tests.deploy.engine.kinds import KINDS, randomised
from tests.deploy.engine.tiny import tiny

STEPS = [
    [Piece(1, 1), Piece(0, 3), Piece(2, 4)],
    [Piece(0, 1), Piece(1, 1), Piece(2, 2)],
    [Piece(0, 1), Piece(2, 1)],
    [Piece(0, 1), Piece(1, 1), Piece(2, 1)],
]


def both(model):
    """Run the same steps through both passes, each with a cache of its own."""
    ready = serving(model)
    found = []
    for way in (partial(definition, ready), LeanForward(ready)):
        cache = SlotCache(model.config, 3, model.embedding.weight.detach())
        generator = torch.Generator().manual_seed(0)
        outputs = []
        for pieces in STEPS:
            n_rows = sum(piece.n_tokens for piece in pieces)
            token_ids = torch.randint(0, 29, (n_rows,), generator=generator)
            with torch.inference_mode():
                outputs.append(way(token_ids, cache.reading(pieces), torch.arange(n_rows)))
        found.append((outputs, cache))
    return found


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_both_passes_agree(options):
    (plain, one), (lean, other) = both(randomised(tiny(**options)))
    for (logits, routings), (lean_logits, lean_routings) in zip(plain, lean, strict=True):
        assert_close(lean_logits, logits)
        assert len(lean_routings) == len(routings)
        for a, b in zip(routings, lean_routings, strict=True):
            assert torch.equal(a.expert_ids, b.expert_ids)
            assert_close(b.gates, a.gates)
    assert_close(other.keys, one.keys)
    assert_close(other.values, one.values)


def test_the_lean_way_is_really_taken():
    lean = LeanForward(serving(tiny()))
    assert lean.lean_attention == [True, True] and all(lean.lean_rows)


def test_an_expert_nobody_chose_may_overflow():
    model = tiny()
    with torch.no_grad():
        for block in model.blocks:
            block.ffn.router.expert_bias[4] = -10.0
            block.ffn.experts.w_up[4] = 1e308
    (plain, _), (lean, _) = both(model)
    for (logits, _), (lean_logits, _) in zip(plain, lean, strict=True):
        assert logits.isfinite().all()
        assert_close(lean_logits, logits)


def test_parts_that_somebody_watches_are_called_as_modules():
    model, seen = tiny(), []
    model.blocks[0].ffn.router.register_forward_hook(lambda *_: seen.append("router"))
    model.blocks[1].attention.register_forward_hook(lambda *_: seen.append("attention"))
    lean = LeanForward(serving(model))
    assert not lean.lean_rows[0] and lean.lean_rows[1] and lean.lean_attention == [True, False]
    cache = SlotCache(model.config, 1, model.embedding.weight.detach())
    lean(torch.tensor([3]), cache.reading([Piece(0, 1)]), torch.tensor([0]))
    assert seen == ["router", "attention"]


def test_numbers_the_lean_pass_is_not_for_go_through_the_definition():
    assert isinstance(pass_through(tiny()), LeanForward)
    assert not isinstance(pass_through(tiny().bfloat16()), LeanForward)


@pytest.mark.parametrize("part", ["router", "experts", "attention"])
def test_broken_weights_are_told_as_the_definition_tells_them(part, as_a_user):
    model = tiny()
    ffn, attention = model.blocks[0].ffn, model.blocks[0].attention
    parts = {"router": ffn.router.proj, "experts": ffn.experts, "attention": attention.v_proj}
    with torch.no_grad():
        next(parts[part].parameters()).fill_(torch.nan)
    ready = serving(model)
    for way in (partial(definition, ready), LeanForward(ready)):
        cache = SlotCache(model.config, 1, model.embedding.weight.detach())
        with torch.inference_mode(), pytest.raises(ValueError, match=r"NaN|broken|number"):
            way(torch.tensor([3, 4]), cache.reading([Piece(0, 2)]), torch.tensor([1]))
