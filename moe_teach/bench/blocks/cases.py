"""The blocks that our layer is compared with: sizes that fit no tile, rules that decide."""

from typing import Any

from moe_teach.bench.blocks.case import BlockCase, from_logits, from_mask, from_vectors


def _case(name: str, room: str, title: str, d_model: int, settings: dict, **more: Any) -> BlockCase:
    sizes = {"hidden_size": d_model, "num_attention_heads": 2, "num_key_value_heads": 2}
    return BlockCase(name, room, title, sizes | settings, **more)


def _v3(n_experts: int, top_k: int, groups: tuple[int, int], scale: float, n_shared: int) -> dict:
    return {
        "moe_intermediate_size": 20,
        "n_routed_experts": n_experts,
        "num_experts_per_tok": top_k,
        "n_group": groups[0],
        "topk_group": groups[1],
        "routed_scaling_factor": scale,
        "n_shared_experts": n_shared,
    }


def _v4(name: str, layer: int) -> BlockCase:
    settings = {
        "moe_intermediate_size": 18,
        "n_routed_experts": 12,
        "num_experts_per_tok": 3,
        "num_hidden_layers": 2,
        "mlp_layer_types": ["hash_moe", "moe"],
        "layer_types": ["heavily_compressed_attention"] * 2,
        "vocab_size": 50,
        "swiglu_limit": 0.8,  # so small that it decides
    }
    return _case(name, "deepseek_v4", "DeepseekV4", 32, settings, layer=layer, rounds=False)


_SOFTMAX = {"num_experts": 7, "num_experts_per_tok": 3}
_SHARED = {"moe_intermediate_size": 12, "shared_expert_intermediate_size": 20}
_V2 = {"moe_intermediate_size": 20, "n_routed_experts": 12, "num_experts_per_tok": 3}
_GROUPS = {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}
_MOE = {"block": "MoE"}
CASES = (
    _case(
        "Mixtral",
        "mixtral",
        "Mixtral",
        24,
        {"intermediate_size": 20, "num_local_experts": 6, "num_experts_per_tok": 2},
    ),
    _case("OLMoE", "olmoe", "Olmoe", 26, {"intermediate_size": 20, **_SOFTMAX}),
    _case(
        "OLMoE, normalised",
        "olmoe",
        "Olmoe",
        26,
        {"intermediate_size": 20, "norm_topk_prob": True, **_SOFTMAX},
    ),
    _case("FlexOlmo", "flex_olmo", "FlexOlmo", 30, {"intermediate_size": 14, **_SOFTMAX}),
    _case("Qwen2-MoE", "qwen2_moe", "Qwen2Moe", 28, {**_SHARED, **_SOFTMAX}),
    _case(
        "Qwen3-MoE",
        "qwen3_moe",
        "Qwen3Moe",
        40,
        {"moe_intermediate_size": 12, "norm_topk_prob": True, **_SOFTMAX},
    ),
    _case("Qwen3-Next", "qwen3_next", "Qwen3Next", 36, {**_SHARED, **_SOFTMAX}),
    _case(
        "DeepSeek-V2",
        "deepseek_v2",
        "DeepseekV2",
        32,
        {**_V2, "routed_scaling_factor": 1.7},
        block="Moe",
    ),
    _case(
        "DeepSeek-V2, groups",
        "deepseek_v2",
        "DeepseekV2",
        32,
        {**_V2, **_GROUPS, "routed_scaling_factor": 1.7},
        block="Moe",
    ),
    _case("DeepSeek-V3", "deepseek_v3", "DeepseekV3", 32, _v3(12, 3, (4, 2), 2.5, 2), **_MOE),
    _v4("DeepSeek-V4", 1),
    _v4("DeepSeek-V4, hash layer", 0),
    _case("GLM-4-MoE", "glm4_moe", "Glm4Moe", 24, _v3(8, 2, (1, 1), 1.3, 1), **_MOE),
    _case(
        "ERNIE-4.5-MoE",
        "ernie4_5_moe",
        "Ernie4_5_Moe",
        24,
        {
            "moe_intermediate_size": 18,
            "moe_num_experts": 9,
            "moe_k": 2,
            "moe_num_shared_experts": 2,
            "moe_norm_min": 0.3,  # so large that it decides
        },
    ),
    BlockCase(
        "DBRX",
        "dbrx",
        "Dbrx",
        {
            "d_model": 24,
            "n_heads": 2,
            "ffn_config": {
                "ffn_hidden_size": 14,
                "moe_num_experts": 6,
                "moe_top_k": 3,
                "moe_normalize_expert_weights": 2.0,
            },
        },
        block="FFN",
        router="router",
        rounds=False,
        chosen=from_logits,
    ),
    _case(
        "gpt-oss",
        "gpt_oss",
        "GptOss",
        24,
        {
            "intermediate_size": 24,  # square matrices: a forgotten transpose would fit
            "num_local_experts": 6,
            "num_experts_per_tok": 3,
            "swiglu_limit": 0.8,
        },
        block="MLP",
        router="router",
        rounds=False,
    ),
    _case(
        "Llama-4",
        "llama4",
        "Llama4Text",
        24,
        {"intermediate_size": 20, "num_local_experts": 6, "num_experts_per_tok": 2},
        block="Moe",
        router="router",
        chosen=from_mask,
    ),
    BlockCase(
        "Switch",
        "switch_transformers",
        "SwitchTransformers",
        {"d_model": 24, "d_ff": 20, "num_experts": 5, "expert_capacity": 2},
        block="SparseMLP",
        router="router",
        chosen=from_mask,
    ),
    _case(
        "MiniMax-M2",
        "minimax_m2",
        "MiniMaxM2",
        24,
        {"intermediate_size": 14, "num_local_experts": 8, "num_experts_per_tok": 3},
    ),
    BlockCase(
        "LongCat-Flash",
        "longcat_flash",
        "LongcatFlash",
        {
            "hidden_size": 24,
            "num_attention_heads": 2,
            "expert_ffn_hidden_size": 14,
            "n_routed_experts": 6,
            "zero_expert_num": 3,
            "moe_topk": 3,
            "routed_scaling_factor": 1.5,
        },
        block="MoE",
        router="router",
    ),
    BlockCase(
        "Grok-1 (oracle)",
        "grok",
        "Grok",
        {
            "model_type": "grok-1",
            "hidden_size": 24,
            "intermediate_size": 20,
            "num_experts": 6,
            "num_experts_per_tok": 2,
        },
        router="router",
        rounds=False,
        chosen=from_vectors,
    ),
)
