"""Who moves what: the optimiser the parameters, the loop the bias, evaluation nothing."""

import pytest
import torch
from torch import nn

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.nn.hash_router import use_hash_routers
from moe_teach.nn.moe import MoE
from moe_teach.train.bias import routers_of, update_expert_biases
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.loop import Trainer
from moe_teach.train.optimizer import build_optimizer, parameter_groups


def settings(**changes) -> TrainConfig:
    return TrainConfig(**{"steps": 9, "warmup": 0, "batch_size": 6, "seq_len": 7, **changes})


def biases(model):
    return [router.expert_bias.clone() for router in routers_of(model)]


def test_decay_touches_matrices_only(make_model):
    model = make_model()
    decayed, still = parameter_groups(model, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed_names = {names[id(p)] for p in decayed["params"]}
    still_names = {names[id(p)] for p in still["params"]}

    assert (decayed["weight_decay"], still["weight_decay"]) == (0.1, 0.0)
    assert decayed_names | still_names == set(names.values())
    assert not decayed_names & still_names
    assert {"blocks.0.ffn.experts.w_up", "unembedding.weight"} <= decayed_names
    assert {"embedding.weight", "norm.weight", "blocks.1.ffn.router.proj.weight"} <= still_names


def test_frozen_parameters_are_left_out(make_model):
    model = make_model()
    model.requires_grad_(False)
    model.blocks[0].ffn.router.requires_grad_(True)
    optimizer = build_optimizer(model, 0.1, 0.1)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to do"):
        build_optimizer(model, 0.1, 0.1)


def test_the_bias_moves_against_the_counts_of_the_whole_step_once(make_model, batches):
    """Three micro-batches make one update, from their summed counts."""
    model = make_model()
    trainer = Trainer(model, settings(accumulate=3, bias_update_rate=0.25))
    record = trainer.advance(batches.at(0))

    for bias, loads in zip(biases(model), record.loads, strict=True):
        error = torch.tensor([0.2 - share for share in loads])
        error[error.abs() < 1e-5] = 0
        torch.testing.assert_close(bias, 0.25 * error.sign())


def test_the_optimiser_does_not_know_the_bias(make_model, batches):
    model = make_model()
    Trainer(model, settings(bias_update_rate=0.0)).advance(batches.at(0))
    assert all(not bias.any() for bias in biases(model))


def test_evaluation_cannot_move_the_bias_nor_change_the_mode(make_model, batches):
    model = make_model().train()
    before = biases(model)
    evaluate(model, [batches.at(0)])
    assert all(torch.equal(a, b) for a, b in zip(before, biases(model), strict=True))
    assert model.training


def test_a_router_without_a_bias_is_refused_in_a_sentence():
    layer = MoE.build(8, MoEConfig(router=RouterConfig(n_experts=4, top_k=1), d_ff=8))
    layer.router = nn.Linear(8, 4)
    with pytest.raises(ValueError, match="Linear has no buffer expert_bias"):
        update_expert_biases(layer, [torch.ones(4)], 0.1)
    with pytest.raises(ValueError, match="1 routers but returned 2 routings"):
        update_expert_biases(layer, [torch.ones(4)] * 2, 0.1)


def test_a_model_whose_bias_cannot_move_is_refused_before_anything_is_learned(make_model):
    model = use_hash_routers(make_model())
    with pytest.raises(ValueError, match="HashRouter has no buffer expert_bias"):
        Trainer(model, settings(bias_update_rate=0.1))
    Trainer(model, settings(bias_update_rate=0.0))


def test_where_the_bias_cannot_move_the_weights_do_not_either(make_model, batches):
    model = make_model()
    model.blocks[0].another = MoE.build(
        8, MoEConfig(router=RouterConfig(n_experts=5, top_k=1), d_ff=8)
    )
    trainer = Trainer(model, settings(bias_update_rate=0.1))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(ValueError, match="3 routers but returned 2 routings"):
        trainer.advance(batches.at(0))
    assert all(map(torch.equal, before, model.parameters()))
    assert trainer.records == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_bias_stays_precise_where_the_model_does_not(make_model, dtype):
    model = make_model(score_fn="sigmoid")
    update_expert_biases(model, [torch.tensor([9, 0, 0, 0, 0])] * 2, 0.001)
    model.to(dtype)
    for _ in range(999):
        update_expert_biases(model, [torch.tensor([9, 0, 0, 0, 0])] * 2, 0.001)
    for router, bias in zip(routers_of(model), biases(model), strict=True):
        torch.testing.assert_close(bias, torch.tensor([-1.0, 1, 1, 1, 1]), rtol=0, atol=1e-3)
        assert router.proj.weight.dtype == dtype
    model.double()
    assert all(bias.dtype == torch.float64 for bias in biases(model))


def test_a_model_built_in_a_narrow_dtype_has_a_precise_bias(make_model):
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = make_model()
    finally:
        torch.set_default_dtype(torch.float32)
    assert model.embedding.weight.dtype == torch.bfloat16
    assert all(bias.dtype == torch.float32 for bias in biases(model))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_narrow_counts_do_not_overflow(make_model, dtype):
    model, counts = make_model(), torch.tensor([120, 0, 60, 60, 60], dtype=dtype)
    update_expert_biases(model, [counts] * 2, 0.5)
    for bias in biases(model):
        assert bias.tolist() == [-0.5, 0.5, 0, 0, 0]


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(
    ("counts", "rate", "words"),
    [
        (torch.ones(5), 0.1, "whole numbers"),
        (torch.ones(4, dtype=torch.long), 0.1, "whole numbers"),
        (torch.ones(5, dtype=torch.long), float("nan"), "must be finite"),
    ],
)
def test_counts_and_rates_that_are_none_are_refused(make_model, counts, rate, words):
    model = make_model()
    with pytest.raises(ValueError, match=words):
        update_expert_biases(model, [counts] * 2, rate)
    assert not any(bias.any() for bias in biases(model))


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        (torch.tensor([0.0, torch.nan, 0, 0, 0]), "NaN or infinite somewhere"),
        (torch.zeros(5, dtype=torch.bfloat16), "swallows steps of 0.001"),
    ],
    ids=["nan", "narrow"],
)
def test_a_bias_that_no_step_can_mend_is_refused(make_model, bias, words):
    model = make_model()
    model.blocks[1].ffn.router.expert_bias = bias
    with pytest.raises(ValueError, match=words):
        update_expert_biases(model, [torch.tensor([9, 0, 0, 0, 0])] * 2, 0.1)
    assert not biases(model)[0].any(), "one layer moved and the other did not"
