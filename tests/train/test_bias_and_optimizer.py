"""Who moves what: the optimiser the parameters, the loop the bias, evaluation nothing."""

import pytest
import torch
from torch import nn

from moe_teach.config import MoEConfig, RouterConfig
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
