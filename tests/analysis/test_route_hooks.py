"""Hooks on published routers: what is recorded is what the block uses, whatever it returns."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from moe_teach.analysis.routes import hooks
from moe_teach.analysis.routes.hooks import record_hf_routes, watching_routers
from moe_teach.analysis.routes.recorder import record_routes
from moe_teach.analysis.routes.router_answers import read_answer, redone
from moe_teach.bench import parity
from moe_teach.bench.parity_models import TINY, tiny
from moe_teach.checkpoint.blocks import FAMILIES
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.config import RouterConfig
from moe_teach.data.batches import Batch
from tests.analysis.published import PUBLISHED, Alone, alone

pytest.importorskip("transformers")

THREE_PARTS = [case for case in PUBLISHED if case.name not in ("DBRX", "Llama-4", "Switch")]
every_case = pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case.name)


def watched(model: Alone, inputs):
    """Run the block; give what the hooks saw, and what the experts were handed."""
    handed = []
    block = model.block
    spy = block.experts.register_forward_pre_hook(lambda _part, args: handed.append(args))
    with torch.no_grad(), watching_routers(model) as seen:
        y = block(*inputs)
    spy.remove()
    assert len(seen) == 1
    return next(iter(seen.values())), handed[0], y[0] if isinstance(y, tuple) else y


def dense(n_experts: int, ids, gates):
    table = torch.zeros(len(ids), n_experts, dtype=gates.dtype)
    return table.scatter(1, ids, gates)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 17)], ids=["one-token", "many"])
@every_case
def test_what_is_recorded_is_what_the_experts_are_handed(case, shape, dtype):
    model = alone(case.name, dtype)
    inputs = model.inputs(shape)
    route, handed, _ = watched(model, inputs)
    n_experts = hooks.blocks_of(model)[0].moe.router.n_experts
    assert len(route.expert_ids) == shape[0] * shape[1]
    mine = dense(n_experts, route.expert_ids, route.gates)
    if case.name == "Llama-4":  # the rows handed over are scaled by the gates: experts by tokens
        rows = handed[0].view(n_experts, -1, inputs[0].shape[-1])
        theirs = inputs[0].flatten(0, 1) * mine.T[..., None].to(dtype)
        torch.testing.assert_close(rows, theirs, atol=0, rtol=0)
        return
    if case.name == "Switch":
        _, one_hot, gates = handed
        kept = route.kept.float()
        expected = one_hot.squeeze(1) * gates
        torch.testing.assert_close(mine * kept, expected.float(), atol=0, rtol=0)
        assert shape == (1, 1) or 0 < kept.sum() < len(kept)
        return
    ids, gates = handed[1:]
    torch.testing.assert_close(mine, dense(n_experts, ids, gates.float()), atol=0, rtol=0)


@every_case
def test_choices_stand_best_first_and_margins_say_how_surely(case):
    model = alone(case.name)
    route, _, _ = watched(model, model.inputs((3, 17)))
    rule = hooks.blocks_of(model)[0].moe.router
    if rule.choice == "table":
        assert (route.margins < 0).any(), "a table does not ask for the scores"
        return
    if rule.n_groups == 1:
        assert (route.margins > 0).all()
    if hooks.blocks_of(model)[0].bias() is None:
        assert (route.gates[:, 1:] <= route.gates[:, :-1]).all()


@pytest.mark.parametrize("case", THREE_PARTS, ids=lambda case: case.name)
def test_a_class_that_returns_only_logits_is_read_by_its_rule(case):
    model = alone(case.name)
    place = hooks.blocks_of(model)[0]
    answers = []
    spy = place.router.register_forward_hook(lambda _part, _x, output: answers.append(output))
    with torch.no_grad():
        model.block(*model.inputs((3, 17)))
    spy.remove()
    logits = answers[0][0]
    if place.moe.router.choice == "table":
        return  # the choice is not in the logits
    whole, read = (place.read(answer) for answer in (answers[0], logits))
    assert torch.equal(whole.expert_ids, read.expert_ids)
    torch.testing.assert_close(whole.gates, read.gates)
    assert torch.equal(whole.margins, read.margins)


@pytest.mark.parametrize("name", ["DeepSeek-V3", "ERNIE-4.5-MoE", "MiniMax-M2", "LongCat-Flash"])
def test_without_its_bias_a_biased_router_would_be_read_wrongly(name):
    model = alone(name)
    place = hooks.blocks_of(model)[0]
    route, _, _ = watched(model, model.inputs((3, 17)))
    assert place.bias().abs().sum() > 0
    logits = torch.randn(40, place.moe.router.n_experts)
    rule = place.moe.router
    assert not torch.equal(
        redone(logits, rule, place.bias()).expert_ids, redone(logits, rule, None).expert_ids
    )
    assert (route.margins < 1).all()


def test_every_architecture_of_transformers_is_watched():
    known = {hooks.blocks_of(alone(case.name))[0].model_type for case in PUBLISHED}
    assert known == set(FAMILIES) - {"grok-1"}


def text_of(model, rows=3, length=11) -> Batch:
    ids = parity.some_text(model)[:rows, : length + 1]
    return Batch(ids[:, :-1], ids[:, 1:], torch.arange(len(ids)) % 2)


@pytest.mark.parametrize("layout", TINY)
def test_both_ways_agree_on_an_exported_model(layout, tmp_path):
    ours, names = tiny(layout), ("even", "odd")
    export_hf(ours, tmp_path / "exported", layout)
    theirs = parity.opened_by_transformers(tmp_path / "exported").train()
    batch = text_of(ours)
    real = torch.ones_like(batch.inputs, dtype=torch.bool)
    real[1, :4] = False
    for given in (batch, replace(batch, real=real)):
        mine = record_routes(ours, [given, given], names)
        hooked = record_hf_routes(theirs, [given, given], names)
        for name in ("expert_ids", "token_ids", "sequence_ids", "positions", "domain_ids"):
            assert torch.equal(getattr(mine, name), getattr(hooked, name)), name
        torch.testing.assert_close(mine.gates, hooked.gates, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mine.margins, hooked.margins, atol=1e-5, rtol=1e-4)
    assert theirs.training
    assert (hooked.n_experts, hooked.n_layers) == (mine.n_experts, ours.config.n_moe_layers)
    assert all(name.startswith("model.layers.") for name in hooked.layers)
    assert not any(part._forward_hooks for part in theirs.modules()), "hooks are taken off"


def test_an_encoder_is_recorded_alone_and_both_together_are_refused():
    transformers = parity.quiet_transformers()
    sizes = {"d_model": 16, "d_kv": 4, "num_heads": 2, "d_ff": 12, "num_layers": 2}
    config = transformers.SwitchTransformersConfig(
        vocab_size=40,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
        num_decoder_layers=2,
        num_experts=4,
        expert_capacity=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        **sizes,
    )
    model = transformers.SwitchTransformersModel(config)
    ids = torch.randint(1, 40, (2, 8))
    batch = Batch(ids, ids, torch.zeros(2, dtype=torch.long))
    record = record_hf_routes(model.encoder, [batch])
    assert (len(record), record.top_k) == (16, 1)
    assert (~record.kept).sum() > 0
    with torch.no_grad(), watching_routers(model) as seen:
        model(input_ids=ids, decoder_input_ids=ids[:, :3])
    assert sorted(len(route.expert_ids) for route in seen.values()) == sorted(
        [16] * record.n_layers + [6] * (len(seen) - record.n_layers)
    )


def test_what_is_not_known_is_said():
    stranger = nn.Linear(2, 2)
    stranger.config = type("Config", (), {"model_type": "bert"})()
    with pytest.raises(ValueError, match=r"routers of 'bert' are not known here. Known are: mix"):
        hooks.blocks_of(stranger)
    stranger.config.model_type = "olmoe"
    with pytest.raises(ValueError, match="no layer with experts"):
        hooks.blocks_of(stranger)
    rule = RouterConfig(n_experts=4, top_k=2)
    swapped = (torch.rand(3, 2), torch.rand(3, 4), torch.zeros(3, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"widths \[2, 2, 4\] where logits of 4 experts"):
        read_answer(swapped, "olmoe", rule, None)
