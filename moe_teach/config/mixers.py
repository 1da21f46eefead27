"""What lets positions look at one another: attention, and what some layers have in its place."""

from dataclasses import dataclass
from typing import Literal

from moe_teach.config.refusal import refuse, refuse_non_positive

QKNorm = Literal["none", "head", "full"]


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

    `bias` gives all four matrices one, or with `qkv_bias_only` all but the output (GLM-4.5). The
    last four fields are counted by the cost model and not built here: `latent` (MLA), `sinks` (one
    learned logit a head, gpt-oss), `relative_buckets` (T5's position table) and `output_gate` (a
    gate beside every query, Qwen3-Next).
    """

    n_heads: int
    n_kv_heads: int
    d_head: int
    qk_norm: QKNorm = "none"
    bias: bool = False
    qkv_bias_only: bool = False
    rope_theta: float = 10_000.0
    latent: LatentConfig | None = None
    sinks: bool = False
    relative_buckets: int = 0
    output_gate: bool = False

    def __post_init__(self) -> None:
        refuse_non_positive(n_heads=self.n_heads, n_kv_heads=self.n_kv_heads, d_head=self.d_head)
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
class CountedMixer:
    """What some layers have in attention's place: counted by the cost model, not built here.

    State-space layers, linear attention and compressed attention do different things, and cost a
    few numbers: `per_width` matrix entries for each unit of d_model, `matrices` entries besides,
    and `vectors` (norms, biases, sinks). For every position already read, `cached_per_position`
    numbers are kept and `flops_per_position` spent; a state, a window or a top-k of fixed size
    does not grow with the text and is in neither.
    """

    name: str
    per_width: int
    matrices: int = 0
    vectors: int = 0
    cached_per_position: int | float = 0
    flops_per_position: int | float = 0
