"""Count parameters part by part, from shapes alone."""

from dataclasses import dataclass, fields

from moe_teach.config import (
    Activation,
    AttentionConfig,
    ModelConfig,
    MoEConfig,
    is_gated,
    refuse,
)


@dataclass(frozen=True, kw_only=True)
class ParamCount:
    """Parameters of a model by the part they stand in; `vectors` are norms, biases and sinks.

    `attention` holds every mixer of positions and, where there are several residual streams, what
    mixes them; `shared_experts` all that always works in an MoE layer but its router: the shared
    expert, its gate, the way into and out of a narrower space.
    """

    input_embedding: int
    output_head: int
    attention: int
    dense_ffn: int
    routers: int
    shared_experts: int
    routed_experts: int
    vectors: int

    @property
    def total(self) -> int:
        """All parameters, each once."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def shared(self) -> int:
        """Everything that works for every token: all but the routed experts."""
        return self.total - self.routed_experts


def count_params(config: ModelConfig) -> ParamCount:
    """Count the parameters of `config` part by part.

    A tied embedding is counted once, as `output_head`. Buffers (rotary tables, the selection bias
    of balancing) are not parameters.
    """
    n_blocks = config.n_layers + config.n_encoder_layers
    n_moe, vocabulary = config.n_moe_layers, config.vocab_size * config.d_model
    mixing, streams = _stream_params(config)
    router = shared = routed = 0
    if config.moe is not None:
        router, shared, routed = _moe_params(config.moe, config.d_model)
    dense = _ffn_params(config.d_model, config.d_ff_dense or 0, config.activation)
    n_attentions = config.n_attention_layers + config.n_encoder_layers + _n_cross(config)
    attention = n_attentions * _attention_params(config.attention, config.d_model)
    for mixer, n_layers in config.other_mixers:
        attention += n_layers * (mixer.per_width * config.d_model + mixer.matrices)
    return ParamCount(
        input_embedding=0 if config.tie_embeddings else vocabulary,
        output_head=vocabulary,
        attention=attention + mixing,
        dense_ffn=(n_blocks - n_moe) * dense,
        routers=n_moe * router,
        shared_experts=n_moe * shared,
        routed_experts=n_moe * routed,
        vectors=_vector_params(config, n_attentions) + streams,
    )


def _n_cross(config: ModelConfig) -> int:
    """Attention layers of the decoder that look at an encoder."""
    return config.n_layers if config.n_encoder_layers else 0


def _stream_params(config: ModelConfig) -> tuple[int, int]:
    """Matrices and vectors that mix residual streams, around every sub-layer and at the end.

    Manifold-constrained hyper-connections as DeepSeek-V4 releases them: from all n streams, a
    matrix each for what a sub-layer reads (n), where it writes (n) and how streams mix (n x n).
    """
    n = config.n_streams
    if n == 1:
        return 0, 0
    n_mixed, n_places = n * (n + 2), 2 * config.n_layers
    return (n_places * n_mixed + n) * n * config.d_model, n_places * (n_mixed + 3) + n + 1


def _ffn_params(d_model: int, d_ff: int, activation: Activation) -> int:
    n_matrices = 3 if is_gated(activation) else 2
    return n_matrices * d_model * d_ff


def _moe_params(moe: MoEConfig, d_model: int) -> tuple[int, int, int]:
    """Router, what always works beside it, and all routed experts of one layer, with biases."""
    rule, width = moe.router, moe.d_latent or d_model
    n_inner = 2 if is_gated(moe.activation) else 1
    bias = moe.d_ff * n_inner + width if moe.bias else 0
    router = rule.n_experts * (d_model * (1 + rule.noisy) + rule.bias)
    always_on = _ffn_params(d_model, moe.shared_width, moe.activation) + moe.shared_gate * d_model
    if moe.d_latent:
        always_on += 2 * d_model * moe.d_latent
    expert = _ffn_params(width, moe.d_ff, moe.activation) + bias
    return router, always_on, moe.n_computing_experts * expert


def _attention_params(attention: AttentionConfig, d_model: int) -> int:
    """Matrices of one attention layer, those of latent attention included."""
    heads, d_head = attention.n_heads, attention.d_head
    latent = attention.latent
    if latent is None:
        query_rows = heads * (1 + attention.output_gate)
        return d_model * d_head * (query_rows + heads + 2 * attention.n_kv_heads)
    d_query = heads * (d_head + latent.d_rope)
    query = d_model * d_query
    if latent.q_rank:
        query = latent.q_rank * (d_model + d_query)
    down = d_model * (latent.kv_rank + latent.d_rope)
    up = latent.kv_rank * heads * (d_head + latent.d_value)
    return query + down + up + heads * latent.d_value * d_model


def _vector_params(config: ModelConfig, n_attentions: int) -> int:
    """Norm weights, attention biases, sinks and T5's relative-position tables."""
    attention, d_model = config.attention, config.d_model
    d_q, d_kv = (n * attention.d_head for n in (attention.n_heads, attention.n_kv_heads))
    n_stacks = 2 if config.n_encoder_layers else 1
    n_blocks = config.n_layers + config.n_encoder_layers
    n_norms = n_blocks * config.n_block_norms + _n_cross(config) + n_stacks
    if config.d_ff_dense == 0:
        n_norms -= n_blocks - config.n_moe_layers  # no feed-forward, no norm before it
    others = sum(n_layers * mixer.vectors for mixer, n_layers in config.other_mixers)
    each = {"none": 0, "head": 2 * attention.d_head, "full": d_q + d_kv}[attention.qk_norm]
    if attention.latent:
        each += attention.latent.kv_rank + (attention.latent.q_rank or 0)
    if attention.bias:
        each += d_q + 2 * d_kv + (0 if attention.qkv_bias_only else d_model)
    if attention.sinks:
        each += attention.n_heads
    relative = n_stacks * attention.relative_buckets * attention.n_heads
    return d_model * n_norms + n_attentions * each + others + relative


def n_params_total(config: ModelConfig) -> int:
    """All parameters the model stores."""
    return count_params(config).total


def n_params_active(
    config: ModelConfig, *, input_embedding: bool = True, output_head: bool = True
) -> int:
    """Parameters that work on one token; see the module's convention for the two tables.

    For an encoder-decoder this is an input token and an output token together. Experts that give
    their input back hold nothing: with them it is the average when every expert is chosen as often.
    """
    count = count_params(config)
    routed = 0
    if config.moe is not None:
        routed = count.routed_experts * config.moe.router.top_k // config.moe.router.n_experts
    left_out = 0 if input_embedding else count.input_embedding
    left_out += 0 if output_head else count.output_head
    return count.shared + routed - left_out


def active_share(shared_share: float, n_experts: int, top_k: int) -> float:
    """Active over total when `shared_share` of all parameters is shared: s + (1 - s) K / E."""
    refuse(
        not 0.0 <= shared_share <= 1.0,
        f"shared_share is a part of the whole, between 0 and 1, but it is {shared_share}.",
    )
    return shared_share + (1.0 - shared_share) * top_k / n_experts


def shared_share(config: ModelConfig) -> float:
    """Part of all parameters that works for every token, between 0 and 1 (1 when dense)."""
    count = count_params(config)
    return count.shared / count.total
