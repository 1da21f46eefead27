"""`torch.compile` of the whole model computes what the model computes."""

import logging

import pytest
import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.model import Model
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
