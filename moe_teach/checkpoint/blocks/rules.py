"""What a published configuration means for the router and the experts: one function for each.

Sources: the block of that name in transformers 5.23, for Grok-1 model.py of xai-org/grok-1; and
the papers that `RouterConfig` and `MoEConfig` name beside each rule.
"""

from moe_teach.checkpoint.blocks.published import Published
from moe_teach.config import MoEConfig, RouterConfig

_SCORES = {"sqrtsoftplus": "sqrt_softplus", "softmax": "softmax", "sigmoid": "sigmoid"}


def mixtral(c: Published) -> MoEConfig:
    """Softmax over all, top-k, gates divided by their sum."""
    router = RouterConfig(
        n_experts=c("num_local_experts"),
        top_k=c("num_experts_per_tok"),
        jitter=c("router_jitter_noise", 0.0),
    )
    return MoEConfig(router=router, d_ff=c("intermediate_size"), activation=c.activation())


def olmoe(c: Published) -> MoEConfig:
    """As Mixtral, but gates are divided by their sum only where the file says so; FlexOlmo, too."""
    return MoEConfig(
        router=_softmax_or_not_normalized(c),
        d_ff=c("intermediate_size"),
        activation=c.activation(),
    )


def qwen3_moe(c: Published) -> MoEConfig:
    """OLMoE's rule; the width of an expert has a name of its own."""
    return MoEConfig(
        router=_softmax_or_not_normalized(c),
        d_ff=c("moe_intermediate_size"),
        activation=c.activation(),
    )


def qwen2_moe(c: Published) -> MoEConfig:
    """OLMoE's rule, and a shared expert that the token weighs by a sigmoid; Qwen3-Next, too."""
    normalizes = c.model_type == "qwen3_next"  # where the file leaves it out
    return MoEConfig(
        router=_softmax_or_not_normalized(c, normalizes),
        d_ff=c("moe_intermediate_size"),
        activation=c.activation(),
        n_shared_experts=1,
        d_ff_shared=c("shared_expert_intermediate_size"),
        shared_gate=True,
    )


def _softmax_or_not_normalized(c: Published, normalizes: bool = False) -> RouterConfig:
    return RouterConfig(
        n_experts=c.either("num_experts", "num_local_experts"),
        top_k=c("num_experts_per_tok"),
        normalize_gates=c("norm_topk_prob", normalizes),
    )


def deepseek_v2(c: Published) -> MoEConfig:
    """Softmax, maybe in groups that are as good as their best expert; gates scaled as they come."""
    method = c("topk_method", "greedy")
    groups = {}
    if method == "group_limited_greedy":
        groups = {"n_groups": c("n_group"), "top_groups": c("topk_group"), "group_score": "best"}
    else:
        c.demand("topk_method", "greedy", "greedy", "no other way to choose is known")
    c.demand("mlp_bias", False, False, "the shared expert has no biases here")
    c.demand("norm_topk_prob", False, False, "transformers leaves gates as they come all the same")
    router = RouterConfig(
        n_experts=c("n_routed_experts"),
        top_k=c("num_experts_per_tok"),
        normalize_gates=False,
        gate_scale=c("routed_scaling_factor", 1.0),
        **groups,
    )
    return _with_shared(c, router)


def deepseek_v3(c: Published) -> MoEConfig:
    """Sigmoid, selection bias, groups as good as their best two, scaled gates; GLM-4-MoE, too."""
    router = RouterConfig(
        n_experts=c("n_routed_experts"),
        top_k=c("num_experts_per_tok"),
        score_fn="sigmoid",
        normalize_gates=c("norm_topk_prob", True),
        gate_scale=c("routed_scaling_factor"),
        n_groups=c("n_group"),
        top_groups=c("topk_group"),
    )
    return _with_shared(c, router)


def _with_shared(c: Published, router: RouterConfig) -> MoEConfig:
    return MoEConfig(
        router=router,
        d_ff=c("moe_intermediate_size"),
        activation=c.activation(),
        n_shared_experts=c("n_shared_experts"),
    )


def deepseek_v4(c: Published) -> MoEConfig:
    """Square root of a softplus, scaled gates, a bounded SwiGLU; first layers choose by a table."""
    c.demand("mlp_bias", False, False, "the shared expert has no biases here")
    c.demand("norm_topk_prob", True, True, "transformers divides gates by their sum all the same")
    is_hashed = c("mlp_layer_types")[c.layer] == "hash_moe"
    router = RouterConfig(
        n_experts=c("n_routed_experts"),
        top_k=c("num_experts_per_tok"),
        score_fn=_SCORES[c("scoring_func", "sqrtsoftplus")],
        gate_scale=c("routed_scaling_factor", 1.5),
        choice="table" if is_hashed else "token",
        table_size=c("vocab_size") if is_hashed else None,
    )
    return MoEConfig(
        router=router,
        d_ff=c("moe_intermediate_size"),
        activation=c.activation(),
        n_shared_experts=1,
        swiglu_limit=c("swiglu_limit", 10.0),
    )


def ernie(c: Published) -> MoEConfig:
    """Softmax, a selection bias, gates divided by their sum but by no less than a floor."""
    c.demand("use_bias", False, False, "the shared expert has no biases here")
    router = RouterConfig(
        n_experts=c("moe_num_experts"),
        top_k=c("moe_k"),
        norm_floor=c("moe_norm_min", 1e-12),
    )
    return MoEConfig(
        router=router,
        d_ff=c("moe_intermediate_size"),
        activation=c.activation(),
        n_shared_experts=c("moe_num_shared_experts"),
    )


def dbrx(c: Published) -> MoEConfig:
    """Softmax, gates divided by their p-norm, or as they come where there is no p."""
    ffn = c.within("ffn_config")
    order = ffn("moe_normalize_expert_weights", 1.0)
    router = RouterConfig(
        n_experts=ffn("moe_num_experts"),
        top_k=ffn("moe_top_k"),
        normalize_gates=order is not None,
        norm_order=1.0 if order is None else order,
        jitter=ffn("moe_jitter_eps", None) or 0.0,
    )
    activation = Published.activation_of(ffn("ffn_act_fn", {"name": "silu"})["name"])
    return MoEConfig(router=router, d_ff=ffn("ffn_hidden_size"), activation=activation)


def gpt_oss(c: Published) -> MoEConfig:
    """Logits with a bias, top-k, softmax over the chosen; biased experts, a bounded SwiGLU."""
    router = RouterConfig(
        n_experts=c("num_local_experts"),
        top_k=c("num_experts_per_tok"),
        topk_first=True,
        bias=True,
    )
    return MoEConfig(
        router=router,
        d_ff=c("intermediate_size"),
        bias=True,
        swiglu_limit=c("swiglu_limit", 7.0),
        swiglu_alpha=c("swiglu_alpha", 1.702),
        swiglu_shift=1.0,
    )


def llama4(c: Published) -> MoEConfig:
    """The sigmoid of each chosen logit scales what the expert reads; a shared expert."""
    router = RouterConfig(
        n_experts=c("num_local_experts"),
        top_k=c("num_experts_per_tok"),
        score_fn="sigmoid",
        normalize_gates=False,
    )
    return MoEConfig(
        router=router,
        d_ff=c("intermediate_size"),
        activation=c.activation(),
        n_shared_experts=1,
        gates_on="input",
    )


def switch(c: Published) -> MoEConfig:
    """The best expert alone, weighed by its probability; so many tokens of each sequence fit."""
    c.demand("dense_act_fn", "relu", "relu", "the experts of Switch have no gate here")
    router = RouterConfig(
        n_experts=c("num_experts"),
        top_k=1,
        normalize_gates=False,
        jitter=c("router_jitter_noise", 0.01),
        bias=c("router_bias", False),
    )
    return MoEConfig(
        router=router, d_ff=c("d_ff"), activation="relu", capacity=c("expert_capacity")
    )


def grok(c: Published) -> MoEConfig:
    """Softmax over all, gates as they come; experts with a GELU written with tanh in the gate."""
    router = RouterConfig(
        n_experts=c("num_experts"), top_k=c("num_experts_per_tok"), normalize_gates=False
    )
    return MoEConfig(router=router, d_ff=c("intermediate_size"), activation="geglu")


def minimax_m2(c: Published) -> MoEConfig:
    """Sigmoid, a selection bias, gates divided by their sum; no shared expert."""
    router = RouterConfig(
        n_experts=c("num_local_experts"),
        top_k=c("num_experts_per_tok"),
        score_fn="sigmoid",
        jitter=c("router_jitter_noise", 0.0),
    )
    return MoEConfig(router=router, d_ff=c("intermediate_size"), activation=c.activation())


def longcat_flash(c: Published) -> MoEConfig:
    """Softmax with a selection bias, scaled gates; some experts give their input back."""
    c.demand("router_bias", False, False, "transformers holds such a bias and never adds it")
    n_identity = c("zero_expert_num", 0) or 0
    router = RouterConfig(
        n_experts=c("n_routed_experts") + n_identity,
        top_k=c("moe_topk"),
        normalize_gates=False,
        gate_scale=c("routed_scaling_factor"),
    )
    return MoEConfig(
        router=router,
        d_ff=c("expert_ffn_hidden_size"),
        activation=c.activation(),
        n_identity_experts=n_identity,
    )
