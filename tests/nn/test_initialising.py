"""A model can be drawn anew: in any order, any number of times, and from no memory at all."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.hash_router import use_hash_routers
from moe_teach.nn.model import Model

CONFIG = ModelConfig(
    n_layers=2,
    d_model=48,
    vocab_size=200,
    attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=24, bias=True, qk_norm="head"),
    moe=MoEConfig(router=RouterConfig(n_experts=8, top_k=2, noisy=True), d_ff=64),
    d_ff_dense=64,
    n_dense_layers=1,
)


def reset(module: nn.Module) -> None:
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()


def children_first(model: Model) -> None:
    model.apply(reset)


def parents_first(model: Model) -> None:
    for module in model.modules():
        reset(module)


def at_once(model: Model) -> None:
    model.reset_parameters()


def spreads(model: nn.Module) -> torch.Tensor:
    return torch.stack([p.double().std(correction=0) for p in model.parameters()])


@pytest.mark.parametrize("order", [at_once, children_first, parents_first])
def test_a_model_is_drawn_alike_however_often_and_in_whatever_order(
    order: Callable[[Model], None],
) -> None:
    torch.manual_seed(0)
    model = Model(CONFIG)
    expected, before = spreads(model), model.blocks[1].ffn.experts.w_down.detach().clone()
    for _ in range(3):
        order(model)
    torch.testing.assert_close(spreads(model), expected, rtol=0.08, atol=1e-9)
    assert not torch.equal(model.blocks[1].ffn.experts.w_down, before), "it was not drawn again"


@pytest.mark.parametrize("order", [at_once, children_first, parents_first])
@pytest.mark.parametrize("tied", [False, True], ids=["own-unembedding", "tied"])
def test_a_model_from_the_meta_device_begins_like_any_other(
    order: Callable[[Model], None], tied: bool
) -> None:
    config = replace(CONFIG, tie_embeddings=tied)
    torch.manual_seed(0)
    expected = spreads(Model(config))
    with torch.device("meta"):
        model = Model(config)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(7)  # stands for whatever was in memory
    order(model)
    torch.testing.assert_close(spreads(model), expected, rtol=0.08, atol=1e-9)
    assert not any(buffer.any() for buffer in model.buffers())
    assert (model.unembedding.weight is model.embedding.weight) == tied


def test_tables_of_hash_routers_come_back_from_the_meta_device() -> None:
    expected = use_hash_routers(Model(CONFIG), seed=3)
    with torch.device("meta"):
        model = use_hash_routers(Model(CONFIG), seed=3)
    model.to_empty(device="cpu").reset_parameters()
    for one, other in zip(model.buffers(), expected.buffers(), strict=True):
        assert torch.equal(one, other)


def test_branches_are_scaled_by_depth_and_nothing_else_is() -> None:
    shallow, deep = Model(replace(CONFIG, n_layers=2)), Model(replace(CONFIG, n_layers=8))
    ratio = {}
    for name, parameter in shallow.blocks[1].named_parameters():
        other = dict(deep.blocks[1].named_parameters())[name]
        if parameter.dim() > 1 and parameter.any():
            ratio[name] = float(other.detach().std() / parameter.detach().std())
    into_the_stream = {"attention.o_proj.weight", "ffn.experts.w_down"}
    assert into_the_stream < set(ratio)
    for name, value in ratio.items():
        wanted = 0.5 if name in into_the_stream else 1.0
        assert value == pytest.approx(wanted, rel=0.08), name
