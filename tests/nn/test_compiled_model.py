"""`torch.compile` of the whole model computes what the model computes."""

import logging

import pytest
import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.model import Model
from moe_teach.nn.moe import FusedMoE
from moe_teach.train.losses import total_loss

CONFIG = ModelConfig(
    n_layers=1,
    d_model=32,
    vocab_size=50,
    attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=16),
    moe=MoEConfig(router=RouterConfig(n_experts=4, top_k=2), d_ff=32, n_shared_experts=1),
)


# torch's compiler makes warnings about its own steps, which would end it as errors.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_compiled_model_answers_and_learns_as_it_is_written(dtype: torch.dtype) -> None:
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    torch.manual_seed(0)
    model = Model(CONFIG).to(dtype)
    text = torch.randint(50, (4, 9))
    inputs, targets = text[:, :-1], text[:, 1:]
    torch.compiler.reset()
    results = []
    for called in (model, torch.compile(model, backend="aot_eager")):
        output = called(inputs)
        loss = total_loss(output, targets, load_balance_coef=0.1, z_loss_coef=0.01).total
        results.append((output.logits, *torch.autograd.grad(loss, list(model.parameters()))))
    rounding = 1e-5 if dtype is torch.float32 else 0.02
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, rtol=rounding, atol=rounding)


ROUTER = RouterConfig(n_experts=6, top_k=3, bias=True, norm_order=2.0, group_score="best")
UNUSUAL = {
    "biases, bounds, a gated shared expert, experts that give back": MoEConfig(
        router=ROUTER,
        d_ff=12,
        bias=True,
        swiglu_limit=0.5,
        n_shared_experts=1,
        shared_gate=True,
        n_identity_experts=2,
    ),
    "gates on inputs, a capacity in each sequence": MoEConfig(
        router=ROUTER, d_ff=12, activation="geglu", gates_on="input", capacity=3
    ),
    "a table": MoEConfig(
        router=RouterConfig(n_experts=6, top_k=3, choice="table", table_size=20), d_ff=12
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("name", UNUSUAL)
def test_a_compiled_layer_of_another_kind_is_the_layer(name: str) -> None:
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    layer = FusedMoE.build(16, UNUSUAL[name])
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, ids = torch.randn(2, 7, 16), torch.randint(20, (2, 7))
    torch.compiler.reset()
    results = []
    for called in (layer, torch.compile(layer, backend="aot_eager")):
        y, routing = called(x, ids)
        gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
        results.append((y, routing.gates, *gradients))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)
