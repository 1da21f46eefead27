"""The configuration of a whole language model."""

from dataclasses import dataclass

from moe_teach.config.experts import Activation, MoEConfig
from moe_teach.config.mixers import AttentionConfig, CountedMixer
from moe_teach.config.refusal import refuse, refuse_non_positive


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A language model, with or without experts.

    The first `n_dense_layers` layers are dense, then every `moe_every`-th layer carries experts;
    dense layers have inner width `d_ff_dense`. `moe=None` makes every layer dense.

    The rest is counted and not built here: `n_encoder_layers` puts an encoder in front, with
    cross-attention in the decoder (T5, Switch); `n_block_norms` is 4 where sub-layers are also
    normalised on their way out (Grok-1); `d_ff_dense=0` ends dense layers after their mixer
    (Nemotron-H); `other_mixers` says what stands in attention's place, and in how many layers;
    `n_streams` is the number of residual streams, mixed around every sub-layer (DeepSeek-V4).
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
    other_mixers: tuple[tuple[CountedMixer, int], ...] = ()
    n_streams: int = 1

    def __post_init__(self) -> None:
        refuse_non_positive(
            n_layers=self.n_layers,
            d_model=self.d_model,
            vocab_size=self.vocab_size,
            moe_every=self.moe_every,
            max_seq_len=self.max_seq_len,
            n_streams=self.n_streams,
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
        refuse(
            self.n_attention_layers < 0,
            f"other_mixers stand in {self.n_layers - self.n_attention_layers} layers, but there "
            f"are only {self.n_layers}: raise n_layers or lower their numbers.",
        )

    @property
    def n_attention_layers(self) -> int:
        """How many layers of the decoder have attention, and no other mixer."""
        return self.n_layers - sum(n_layers for _, n_layers in self.other_mixers)

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
