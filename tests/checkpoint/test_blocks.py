"""Our layer is the MoE block of published architectures, for the same weights."""

from importlib import import_module

import pytest
import torch
from torch import nn

from moe_teach.checkpoint.blocks import moe_from, weights_from, weights_to
from moe_teach.nn.moe import MoE

pytest.importorskip("transformers")

SIZES = {"hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
CASES = {
    "mixtral": ("Mixtral", {"intermediate_size": 20, "num_local_experts": 6}),
    "olmoe": ("Olmoe", {"intermediate_size": 20, "num_experts": 6}),
    "qwen3_moe": ("Qwen3Moe", {"moe_intermediate_size": 20, "num_experts": 6}),
}


def block_of(name: str) -> tuple[object, nn.Module]:
    """Build a random block of transformers; give its configuration with it."""
    title, sizes = CASES[name]
    place = f"transformers.models.{name}"
    config = getattr(import_module(f"{place}.configuration_{name}"), f"{title}Config")
    block = getattr(import_module(f"{place}.modeling_{name}"), f"{title}SparseMoeBlock")
    config = config(**SIZES, **sizes, num_experts_per_tok=2)
    config._experts_implementation = "eager"
    theirs = block(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return config, theirs


@pytest.mark.parametrize("name", CASES)
def test_our_layer_is_their_block_forward_and_backward(name):
    config, theirs = block_of(name)
    ours = MoE.build(24, moe_from(config)).eval()
    ours.load_state_dict(weights_from(theirs.state_dict(), config))
    x = torch.randn(2, 7, 24)
    x_theirs, x_ours = x.clone().requires_grad_(), x.clone().requires_grad_()
    dy = torch.randn_like(x)

    expected, y = theirs(x_theirs), ours(x_ours)[0]
    expected.backward(dy)
    y.backward(dy)

    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, atol=1e-5, rtol=1e-4)
    gradients = weights_from({key: p.grad for key, p in theirs.named_parameters()}, config)
    for key, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_the_way_there_and_back_changes_no_bit(name):
    config, theirs = block_of(name)
    back = weights_to(weights_from(theirs.state_dict(), config), config)
    assert back.keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(back[key], tensor)


def test_a_missing_and_a_strange_tensor_are_named():
    config, theirs = block_of("olmoe")
    state = theirs.state_dict()
    with pytest.raises(ValueError, match=r"needs the tensors gate\.weight"):
        weights_from({key: state[key] for key in state if key != "gate.weight"}, config)
    with pytest.raises(ValueError, match=r"has no tensors self_attn\.q_proj"):
        weights_from({**state, "self_attn.q_proj": torch.zeros(1)}, config)
    with pytest.raises(ValueError, match="describes a layer of olmoe"):
        weights_to({}, config)
