"""The same weights in transformers' Mixtral and DeepSeek and in the library: equal outputs."""

import pytest
import torch
from torch import nn

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.attention import Attention
from moe_teach.nn.block import Block
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router

pytest.importorskip("transformers")

from transformers import DeepseekV3Config, DeepseekV4Config, MixtralConfig, MixtralForCausalLM
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE
from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4TopKRouter
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

TINY_MIXTRALS = [
    pytest.param({"n_experts": 4, "top_k": 2}, id="4-experts-choose-2"),
    pytest.param({"n_experts": 8, "top_k": 3}, id="8-experts-choose-3"),
    pytest.param({"n_experts": 3, "top_k": 3}, id="all-chosen"),
    pytest.param({"n_experts": 5, "top_k": 1}, id="choose-1"),
]


def mixtral_config(n_experts: int, top_k: int) -> MixtralConfig:
    return MixtralConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_experts_per_tok=top_k,
        num_local_experts=n_experts,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )


def our_config(n_experts: int, top_k: int) -> ModelConfig:
    return ModelConfig(
        n_layers=2,
        d_model=32,
        vocab_size=60,
        attention=AttentionConfig(n_heads=4, n_kv_heads=2, d_head=8, rope_theta=5000.0),
        moe=MoEConfig(router=RouterConfig(n_experts=n_experts, top_k=top_k), d_ff=48),
        max_seq_len=64,
    )


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return module.eval()


@torch.no_grad()
def copy_moe(theirs: nn.Module, ours: MoE) -> None:
    gate, up = theirs.experts.gate_up_proj.chunk(2, dim=1)
    ours.router.proj.weight.copy_(theirs.gate.weight)
    ours.experts.w_gate.copy_(gate)
    ours.experts.w_up.copy_(up)
    ours.experts.w_down.copy_(theirs.experts.down_proj)


@torch.no_grad()
def copy_attention(theirs: nn.Module, ours: Attention) -> None:
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        getattr(ours, name).weight.copy_(getattr(theirs, name).weight)


@torch.no_grad()
def copy_model(theirs: MixtralForCausalLM, ours: Model) -> None:
    ours.embedding.weight.copy_(theirs.model.embed_tokens.weight)
    ours.unembedding.weight.copy_(theirs.lm_head.weight)
    ours.norm.weight.copy_(theirs.model.norm.weight)
    for layer, block in zip(theirs.model.layers, ours.blocks, strict=True):
        assert isinstance(block, Block)
        block.attention_norm.weight.copy_(layer.input_layernorm.weight)
        block.ffn_norm.weight.copy_(layer.post_attention_layernorm.weight)
        copy_attention(layer.self_attn, block.attention)
        copy_moe(layer.mlp, block.ffn)


def assert_same_gradients(x_theirs, x_ours, pairs) -> None:
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, atol=1e-5, rtol=1e-4)
    for theirs, ours in pairs:
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sizes", TINY_MIXTRALS)
def test_our_layer_is_mixtrals_forward_and_backward(sizes: dict) -> None:
    theirs = randomised(MixtralSparseMoeBlock(mixtral_config(**sizes)))
    ours = MoE.build(32, our_config(**sizes).moe)
    copy_moe(theirs, ours)
    x_theirs = torch.randn(2, 11, 32, requires_grad=True)
    x_ours = x_theirs.detach().clone().requires_grad_()
    dy = torch.randn(2, 11, 32)

    expected, (y, _) = theirs(x_theirs), ours(x_ours)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)

    expected.backward(dy)
    y.backward(dy)
    d_gate, d_up = theirs.experts.gate_up_proj.grad.chunk(2, dim=1)
    theirs.gate.weight.grad = theirs.gate.weight.grad.clone()
    assert_same_gradients(
        x_theirs,
        x_ours,
        [
            (theirs.gate.weight, ours.router.proj.weight),
            (theirs.experts.down_proj, ours.experts.w_down),
        ],
    )
    torch.testing.assert_close(ours.experts.w_gate.grad, d_gate, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.experts.w_up.grad, d_up, atol=1e-5, rtol=1e-4)


def test_the_published_order_of_mixtral_gives_the_same_layer() -> None:
    """Mistral takes top-k first and then softmax; transformers softmax first. Equal, normalised."""
    sizes = {"n_experts": 8, "top_k": 2}
    theirs = randomised(MixtralSparseMoeBlock(mixtral_config(**sizes)))
    router = RouterConfig(**sizes, topk_first=True)
    ours = MoE.build(32, MoEConfig(router=router, d_ff=48))
    copy_moe(theirs, ours)
    x = torch.randn(2, 11, 32)
    torch.testing.assert_close(ours(x)[0], theirs(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sizes", TINY_MIXTRALS)
def test_our_model_is_mixtral(sizes: dict) -> None:
    theirs = randomised(MixtralForCausalLM(mixtral_config(**sizes)))
    ours = Model(our_config(**sizes)).eval()
    copy_model(theirs, ours)
    token_ids = torch.randint(0, 60, (2, 13))

    expected, out = theirs(token_ids, output_router_logits=True), ours(token_ids)

    torch.testing.assert_close(out.logits, expected.logits, atol=1e-4, rtol=1e-4)
    for routing, their_logits in zip(out.routings, expected.router_logits, strict=True):
        torch.testing.assert_close(
            routing.logits, their_logits.flatten(0, -2), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("n_shared", [1, 2])
@pytest.mark.parametrize("normalised", [True, False], ids=["normalised", "as-it-comes"])
@pytest.mark.parametrize(
    ("n_experts", "top_k", "n_groups", "top_groups"),
    [(8, 2, 4, 2), (8, 4, 2, 1), (12, 3, 3, 2), (6, 2, 1, 1)],
)
def test_our_layer_is_deepseek_v3s(
    n_experts, top_k, n_groups, top_groups, normalised, n_shared
) -> None:
    config = DeepseekV3Config(
        hidden_size=32,
        moe_intermediate_size=24,
        n_routed_experts=n_experts,
        num_experts_per_tok=top_k,
        n_group=n_groups,
        topk_group=top_groups,
        norm_topk_prob=normalised,
        routed_scaling_factor=2.5,
        n_shared_experts=n_shared,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    theirs = randomised(DeepseekV3MoE(config))
    # Larger than the differences of the scores, and partly negative: it decides, and a mask of
    # zeros instead of minus infinity would show.
    theirs.gate.e_score_correction_bias.copy_(torch.randn(n_experts) - 1)
    router = RouterConfig(
        n_experts=n_experts,
        top_k=top_k,
        score_fn="sigmoid",
        normalize_gates=normalised,
        gate_scale=2.5,
        n_groups=n_groups,
        top_groups=top_groups,
    )
    ours = MoE.build(32, MoEConfig(router=router, d_ff=24, n_shared_experts=n_shared))
    copy_moe(theirs, ours)
    ours.router.expert_bias.copy_(theirs.gate.e_score_correction_bias)
    with torch.no_grad():
        ours.shared_expert.w_gate.weight.copy_(theirs.shared_experts.gate_proj.weight)
        ours.shared_expert.w_up.weight.copy_(theirs.shared_experts.up_proj.weight)
        ours.shared_expert.w_down.weight.copy_(theirs.shared_experts.down_proj.weight)
    x = torch.randn(3, 7, 32)

    _, _, their_ids = theirs.gate(x)
    y, routing = ours(x)

    assert torch.equal(routing.expert_ids.sort().values, their_ids.sort().values)
    torch.testing.assert_close(y, theirs(x), atol=1e-5, rtol=1e-4)


def test_our_router_is_deepseek_v4s() -> None:
    config = DeepseekV4Config(
        hidden_size=32, n_routed_experts=12, num_experts_per_tok=3, routed_scaling_factor=1.5
    )
    theirs = randomised(DeepseekV4TopKRouter(config))
    theirs.e_score_correction_bias.copy_(torch.randn(12))
    rule = RouterConfig(n_experts=12, top_k=3, score_fn="sqrt_softplus", gate_scale=1.5)
    ours = Router(32, rule)
    with torch.no_grad():
        ours.proj.weight.copy_(theirs.weight)
        ours.expert_bias.copy_(theirs.e_score_correction_bias)
    x = torch.randn(50, 32)

    routing = ours(x)
    _, gates, expert_ids = theirs(x)

    ranked = expert_ids.sort(dim=-1)
    mine = routing.expert_ids.sort(dim=-1)
    assert torch.equal(mine.values, ranked.values)
    expected = gates.gather(-1, ranked.indices)
    torch.testing.assert_close(routing.gates.gather(-1, mine.indices), expected)
