"""The small language model of the course's own experiments: bytes in, width 64, bytes out."""

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig

MAX_LENGTH = 64  # bytes of a text


def small_config(
    n_layers: int = 2, *, d_ff_dense: int | None = None, moe: MoEConfig | None = None
) -> ModelConfig:
    """Describe a model that a lesson trains in seconds on a processor.

    Chapters differ in its feed-forward and share the rest, so that their figures can be laid side
    by side: two heads of 32, texts of at most `MAX_LENGTH` bytes, GELU in the dense net.

    Args:
        n_layers: blocks, one after the other.
        d_ff_dense: inner width of the dense feed-forward, where there is one.
        moe: the experts of every layer, in place of a dense feed-forward.

    Raises:
        ValueError: neither of the two is given.
    """
    return ModelConfig(
        n_layers=n_layers,
        d_model=64,
        vocab_size=256,
        attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=32),
        moe=moe,
        d_ff_dense=d_ff_dense,
        activation="gelu",
        max_seq_len=MAX_LENGTH,
    )
