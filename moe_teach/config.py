"""Frozen configurations that refuse bad combinations in a full sentence.

One `ModelConfig` describes both the small models that `moe_teach.nn` builds and the published
models of `moe_teach.catalog`; `moe_teach.cost` counts either. Nothing here needs torch.
"""

from dataclasses import dataclass
from typing import Literal

ScoreFn = Literal["softmax", "sigmoid"]
Activation = Literal["swiglu", "gelu", "relu"]
Choice = Literal["token", "expert"]
DropPolicy = Literal["first_come", "by_gate", "random"]
QKNorm = Literal["none", "head", "full"]


def refuse(condition: bool, sentence: str) -> None:
    """Raise `ValueError(sentence)` when `condition` holds; the sentence says what to do."""
    if condition:
        raise ValueError(sentence)


def _refuse_non_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        refuse(size < 1, f"{name} must be at least 1, but it is {size}.")


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """How one router chooses.

    `topk_first` takes the softmax over the chosen logits only (Mixtral as published) instead of
    over all experts. `choice="expert"` lets each expert pick its top T * top_k / E tokens (Zhou
    et al. 2022, arXiv 2202.09368); it looks at the whole batch and is therefore not causal.
    `jitter` multiplies the input by uniform noise from [1 - jitter, 1 + jitter] and `noisy` adds
    learned noise to the logits (Shazeer et al. 2017, eq. 4); both act in training only.
    `n_groups` and `top_groups` restrict a token to its best groups of experts (DeepSeek-V3).
    """

    n_experts: int
    top_k: int
    score_fn: ScoreFn = "softmax"
    topk_first: bool = False
    normalize_gates: bool = True
    gate_scale: float = 1.0
    jitter: float = 0.0
    noisy: bool = False
    n_groups: int = 1
    top_groups: int = 1
    choice: Choice = "token"

    def __post_init__(self) -> None:
        _refuse_non_positive(n_experts=self.n_experts, top_k=self.top_k, n_groups=self.n_groups)
        refuse(
            self.top_k > self.n_experts,
            f"top_k is {self.top_k}, but there are only {self.n_experts} experts: "
            f"choose top_k between 1 and {self.n_experts}.",
        )
        refuse(
            not 0.0 <= self.jitter < 1.0,
            f"jitter must lie in [0, 1), because the input is multiplied by 1 +- jitter; "
            f"it is {self.jitter}.",
        )
        refuse(
            self.topk_first and self.score_fn == "sigmoid",
            "topk_first only changes a softmax: a sigmoid scores each expert alone. "
            "Leave topk_first at False.",
        )
        self._check_groups()

    def _check_groups(self) -> None:
        refuse(
            self.n_experts % self.n_groups != 0,
            f"{self.n_experts} experts cannot be split into {self.n_groups} equal groups: "
            "choose n_groups that divides n_experts.",
        )
        refuse(
            not 1 <= self.top_groups <= self.n_groups,
            f"top_groups must lie between 1 and n_groups = {self.n_groups}, "
            f"but it is {self.top_groups}.",
        )
        reachable = self.n_experts // self.n_groups * self.top_groups
        refuse(
            self.top_k > reachable,
            f"top_k is {self.top_k}, but {self.top_groups} of {self.n_groups} groups hold only "
            f"{reachable} experts: raise top_groups or lower top_k.",
        )
        refuse(
            self.choice == "expert" and self.n_groups > 1,
            "Group-limited routing restricts what a token may choose; with choice='expert' the "
            "experts choose. Use n_groups=1.",
        )


@dataclass(frozen=True, kw_only=True)
class MoEConfig:
    """One MoE layer: a router, its experts and what is always on.

    `d_ff` is the inner width of one routed expert; the shared expert, when there is one, is a
    single feed-forward of width `n_shared_experts * d_ff` (or `d_ff_shared` where the published
    model differs). `capacity_factor=None` drops nothing. `bias` gives the router and the experts
    ordinary linear biases (gpt-oss); it has nothing to do with the selection bias of balancing.
    """

    router: RouterConfig
    d_ff: int
    activation: Activation = "swiglu"
    n_shared_experts: int = 0
    d_ff_shared: int | None = None
    capacity_factor: float | None = None
    drop_policy: DropPolicy = "first_come"
    bias: bool = False

    def __post_init__(self) -> None:
        _refuse_non_positive(d_ff=self.d_ff)
        refuse(
            self.n_shared_experts < 0,
            f"n_shared_experts must not be negative, but it is {self.n_shared_experts}.",
        )
        refuse(
            self.capacity_factor is not None and self.capacity_factor <= 0,
            f"capacity_factor must be positive (or None to drop nothing), "
            f"but it is {self.capacity_factor}.",
        )
        refuse(
            self.capacity_factor is not None and self.router.choice == "expert",
            "Expert choice already fixes how many tokens an expert takes: "
            "leave capacity_factor at None.",
        )

    @property
    def shared_width(self) -> int:
        """Inner width of the shared expert; 0 when there is none."""
        if not self.n_shared_experts:
            return 0
        return self.d_ff_shared or self.n_shared_experts * self.d_ff


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): counted, not built here."""

    kv_rank: int
    d_rope: int
    d_value: int
    q_rank: int | None = None


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Attention with grouped key and value heads.

    The last three fields are counted by the cost model and not built here: `latent` (MLA),
    `sinks` (one learned logit a head, gpt-oss) and `relative_buckets` (T5's position table).
    """

    n_heads: int
    n_kv_heads: int
    d_head: int
    qk_norm: QKNorm = "none"
    bias: bool = False
    rope_theta: float = 10_000.0
    latent: LatentConfig | None = None
    sinks: bool = False
    relative_buckets: int = 0

    def __post_init__(self) -> None:
        _refuse_non_positive(n_heads=self.n_heads, n_kv_heads=self.n_kv_heads, d_head=self.d_head)
        refuse(
            self.n_heads % self.n_kv_heads != 0,
            f"{self.n_heads} query heads cannot share {self.n_kv_heads} key heads evenly: "
            "n_kv_heads must divide n_heads.",
        )
        refuse(
            self.d_head % 2 != 0,
            f"d_head must be even, because rotary embeddings turn pairs; it is {self.d_head}.",
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A language model, with or without experts.

    The first `n_dense_layers` layers are dense, then every `moe_every`-th layer carries experts;
    dense layers have inner width `d_ff_dense`. `moe=None` makes every layer dense. Two fields are
    counted and not built here: `n_encoder_layers` puts an encoder in front, with cross-attention
    in the decoder (T5, Switch), and `n_block_norms` is 4 where sub-layers are also normalised
    on their way out (Grok-1).
    """

    n_layers: int
    d_model: int
    vocab_size: int
    attention: AttentionConfig
    moe: MoEConfig | None = None
    d_ff_dense: int | None = None
    n_dense_layers: int = 0
    moe_every: int = 1
    activation: Activation = "swiglu"
    tie_embeddings: bool = False
    max_seq_len: int = 2048
    norm_eps: float = 1e-5
    n_encoder_layers: int = 0
    n_block_norms: int = 2

    def __post_init__(self) -> None:
        _refuse_non_positive(
            n_layers=self.n_layers,
            d_model=self.d_model,
            vocab_size=self.vocab_size,
            moe_every=self.moe_every,
            max_seq_len=self.max_seq_len,
        )
        refuse(
            not 0 <= self.n_dense_layers <= self.n_layers,
            f"n_dense_layers must lie between 0 and n_layers = {self.n_layers}, "
            f"but it is {self.n_dense_layers}.",
        )
        refuse(
            self.d_ff_dense is None and any(not is_moe for is_moe in self.layer_has_experts),
            "Some layers are dense, so their inner width is needed: set d_ff_dense.",
        )

    @property
    def layer_has_experts(self) -> tuple[bool, ...]:
        """For each layer of the decoder, whether its feed-forward is an MoE."""
        return tuple(self._has_experts(layer) for layer in range(self.n_layers))

    def _has_experts(self, layer: int) -> bool:
        past_dense = layer - self.n_dense_layers + 1
        return self.moe is not None and past_dense > 0 and past_dense % self.moe_every == 0

    @property
    def n_moe_layers(self) -> int:
        """How many layers carry experts, the encoder's included."""
        encoder = sum(self._has_experts(layer) for layer in range(self.n_encoder_layers))
        return encoder + sum(self.layer_has_experts)
