"""Totals of the catalog against transformers' own classes, built without memory on `meta`.

The settings are written out here a second time, from the public configurations: a slip in the
catalog cannot repeat itself. Switch-C is left out (2,048 separate modules in each layer); Grok-1
and Ling 2.0 have no class. These are counted by hand below.
"""

from typing import Any

import pytest
import torch

from moe_teach.catalog import CATALOG
from moe_teach.cost import n_params_total

transformers = pytest.importorskip("transformers")

MIXTRAL = {"num_key_value_heads": 8, "num_local_experts": 8, "vocab_size": 32000}
QWEN3 = {"num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8}
LLAMA4 = {
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "num_hidden_layers": 48,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 202048,
    "pad_token_id": None,
}
GPT_OSS = {"hidden_size": 2880, "intermediate_size": 2880, "vocab_size": 201088}
DEEPSEEK = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
V3 = dict(
    DEEPSEEK,
    q_lora_rank=1536,
    hidden_size=7168,
    intermediate_size=18432,
    moe_intermediate_size=2048,
    num_hidden_layers=61,
    num_experts_per_tok=8,
    n_shared_experts=1,
)
V4 = {
    "head_dim": 512,
    "o_lora_rank": 1024,
    "num_experts_per_tok": 6,
    "hc_mult": 4,
    "index_n_heads": 64,
    "index_head_dim": 128,
    "vocab_size": 129280,
}
SWITCH = {
    "d_model": 768,
    "d_ff": 3072,
    "d_kv": 64,
    "num_heads": 12,
    "num_layers": 12,
    "num_decoder_layers": 12,
}
# name -> (class prefix, head, settings)
RELEASED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Mistral 7B": ("Mistral", "ForCausalLM", {"num_hidden_layers": 32, "vocab_size": 32000}),
    "Llama-3.1 70B": (
        "Llama",
        "ForCausalLM",
        {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        },
    ),
    "Mixtral 8x7B": (
        "Mixtral",
        "ForCausalLM",
        dict(
            MIXTRAL,
            hidden_size=4096,
            intermediate_size=14336,
            num_hidden_layers=32,
            num_attention_heads=32,
        ),
    ),
    "Mixtral 8x22B": (
        "Mixtral",
        "ForCausalLM",
        dict(
            MIXTRAL,
            hidden_size=6144,
            intermediate_size=16384,
            num_hidden_layers=56,
            num_attention_heads=48,
        ),
    ),
    "DBRX": (
        "Dbrx",
        "ForCausalLM",
        {
            "d_model": 6144,
            "n_heads": 48,
            "n_layers": 40,
            "vocab_size": 100352,
            "attn_config": {"kv_n_heads": 8, "rope_theta": 500_000},
            "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
        },
    ),
    "OLMoE-1B-7B": (
        "Olmoe",
        "ForCausalLM",
        {
            "hidden_size": 2048,
            "intermediate_size": 1024,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "num_experts": 64,
            "vocab_size": 50304,
        },
    ),
    "Qwen3-30B-A3B": (
        "Qwen3Moe",
        "ForCausalLM",
        dict(
            QWEN3,
            hidden_size=2048,
            moe_intermediate_size=768,
            num_hidden_layers=48,
            num_attention_heads=32,
            vocab_size=151936,
        ),
    ),
    "Qwen3-235B-A22B": (
        "Qwen3Moe",
        "ForCausalLM",
        dict(
            QWEN3,
            hidden_size=4096,
            moe_intermediate_size=1536,
            num_hidden_layers=94,
            num_attention_heads=64,
            vocab_size=151936,
        ),
    ),
    "Llama-4 Scout": (
        "Llama4Text",
        "Llama4ForCausalLM",
        dict(LLAMA4, num_local_experts=16, interleave_moe_layer_step=1),
    ),
    "Llama-4 Maverick": (
        "Llama4Text",
        "Llama4ForCausalLM",
        dict(LLAMA4, num_local_experts=128, interleave_moe_layer_step=2),
    ),
    "gpt-oss-20b": (
        "GptOss",
        "ForCausalLM",
        dict(GPT_OSS, num_hidden_layers=24, num_local_experts=32),
    ),
    "gpt-oss-120b": (
        "GptOss",
        "ForCausalLM",
        dict(GPT_OSS, num_hidden_layers=36, num_local_experts=128),
    ),
    "DeepSeek-V2-Lite": (
        "DeepseekV2",
        "ForCausalLM",
        dict(
            DEEPSEEK,
            q_lora_rank=None,
            hidden_size=2048,
            intermediate_size=10944,
            moe_intermediate_size=1408,
            num_hidden_layers=27,
            num_attention_heads=16,
            num_key_value_heads=16,
            n_routed_experts=64,
            n_shared_experts=2,
            first_k_dense_replace=1,
            vocab_size=102400,
        ),
    ),
    "DeepSeek-V3": (
        "DeepseekV3",
        "ForCausalLM",
        dict(V3, num_attention_heads=128, n_routed_experts=256, vocab_size=129280),
    ),
    "Kimi K2": (
        "DeepseekV3",
        "ForCausalLM",
        dict(
            V3,
            num_attention_heads=64,
            num_key_value_heads=64,
            n_routed_experts=384,
            first_k_dense_replace=1,
            n_group=1,
            topk_group=1,
            vocab_size=163840,
        ),
    ),
    "GLM-4.5": (
        "Glm4Moe",
        "ForCausalLM",
        {
            "hidden_size": 5120,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_hidden_layers": 92,
            "num_attention_heads": 96,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "n_routed_experts": 160,
            "first_k_dense_replace": 3,
            "attention_bias": True,
            "use_qk_norm": True,
            "vocab_size": 151552,
        },
    ),
    "MiniMax-M2": (
        "MiniMaxM2",
        "ForCausalLM",
        {
            "hidden_size": 3072,
            "intermediate_size": 1536,
            "num_hidden_layers": 62,
            "num_attention_heads": 48,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "num_local_experts": 256,
            "vocab_size": 200064,
        },
    ),
    "Qwen3-Next-80B": (
        "Qwen3Next",
        "ForCausalLM",
        {
            "hidden_size": 2048,
            "num_hidden_layers": 48,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_conv_kernel_dim": 4,
            "num_experts": 512,
            "num_experts_per_tok": 10,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "full_attention_interval": 4,
            "vocab_size": 151936,
        },
    ),
    "Nemotron 3 Super": (
        "NemotronH",
        "ForCausalLM",
        {
            "hidden_size": 4096,
            "layers_block_type": ["linear_attention", "moe"] * 40 + ["full_attention"] * 8,
            "num_attention_heads": 32,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "mamba_num_heads": 128,
            "mamba_head_dim": 64,
            "ssm_state_size": 128,
            "n_groups": 8,
            "conv_kernel": 4,
            "n_routed_experts": 512,
            "num_experts_per_tok": 22,
            "moe_intermediate_size": 2688,
            "moe_latent_size": 1024,
            "moe_shared_expert_intermediate_size": 5376,
            "vocab_size": 131072,
        },
    ),
    "GLM-5": (
        "GlmMoeDsa",
        "ForCausalLM",
        {
            "hidden_size": 6144,
            "intermediate_size": 12288,
            "moe_intermediate_size": 2048,
            "num_hidden_layers": 78,
            "num_attention_heads": 64,
            "q_lora_rank": 2048,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 192,
            "qk_rope_head_dim": 64,
            "v_head_dim": 256,
            "index_n_heads": 32,
            "index_head_dim": 128,
            "n_routed_experts": 256,
            "first_k_dense_replace": 3,
            "vocab_size": 154880,
        },
    ),
    "DeepSeek-V4-Flash": (
        "DeepseekV4",
        "ForCausalLM",
        dict(
            V4,
            hidden_size=4096,
            num_hidden_layers=43,
            num_attention_heads=64,
            q_lora_rank=1024,
            o_groups=8,
            n_routed_experts=256,
            moe_intermediate_size=2048,
            compress_ratios=[0, 0, *[4, 128] * 20, 4],
        ),
    ),
    "DeepSeek-V4-Pro": (
        "DeepseekV4",
        "ForCausalLM",
        dict(
            V4,
            hidden_size=7168,
            num_hidden_layers=61,
            num_attention_heads=128,
            q_lora_rank=1536,
            o_groups=16,
            n_routed_experts=384,
            moe_intermediate_size=3072,
            compress_ratios=[128, *[128, 4] * 30],
        ),
    ),
    "Switch-Base-8": (
        "SwitchTransformers",
        "ForConditionalGeneration",
        dict(SWITCH, num_experts=8, num_sparse_encoder_layers=6, num_sparse_decoder_layers=6),
    ),
}


def _count_on_meta(prefix: str, head: str, settings: dict[str, Any]) -> int:
    config = getattr(transformers, f"{prefix}Config")(**settings)
    model_class = getattr(transformers, head, None) or getattr(transformers, prefix + head)
    with torch.device("meta"):
        model = model_class(config)
    return sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


@pytest.mark.parametrize("name", RELEASED)
def test_total_equals_the_sum_over_transformers_own_parameters(name):
    assert n_params_total(CATALOG[name].config) == _count_on_meta(*RELEASED[name])


def test_grok_equals_a_count_by_hand():
    d, f, layers = 6144, 32768, 64
    attention = d * 128 * (48 + 8 + 8 + 48)
    per_layer = attention + 8 * d + 8 * 3 * d * f + 4 * d
    assert n_params_total(CATALOG["Grok-1"].config) == layers * per_layer + 131072 * d + d


def test_switch_c_equals_a_count_by_hand():
    d, f, heads = 2080, 6144, 32
    attention = 4 * d * heads * 64
    sparse = 2048 * (2 * d * f) + 2048 * d
    encoder = 15 * (attention + sparse + 2 * d) + d
    decoder = 15 * (2 * attention + sparse + 3 * d) + d
    tables = 32128 * d + 2 * 32 * heads
    assert n_params_total(CATALOG["Switch-C-2048"].config) == encoder + decoder + tables


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("Ling-mini-2.0", (20, 1, 2048, 16, 4, 512, 5120)),
        ("Ling-1T", (80, 4, 8192, 64, 8, 2048, 18432)),
    ],
)
def test_ling_equals_a_count_by_hand(name, sizes):
    layers, dense, d, heads, key_heads, f, f_dense = sizes
    attention = d * 128 * 2 * (heads + key_heads) + 2 * 128
    sparse = 256 * d + 257 * 3 * d * f
    ffns = dense * 3 * d * f_dense + (layers - dense) * sparse
    by_hand = layers * (attention + 2 * d) + ffns + d + 2 * 157184 * d
    assert n_params_total(CATALOG[name].config) == by_hand
