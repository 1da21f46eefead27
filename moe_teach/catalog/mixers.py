"""What stands in attention's place in the layers of some published models, as counts.

Each function writes out the matrices of one kind of layer from the sizes in a public
configuration; the names of the parts are those of the models' own code.
"""

from moe_teach.config import CountedMixer


def mamba2(n_heads: int, d_head: int, d_state: int, n_groups: int, kernel: int) -> CountedMixer:
    """A Mamba-2 layer (Dao and Gu 2024, arXiv 2405.21060), with a bias on its convolution."""
    d_inner = n_heads * d_head
    d_conv = d_inner + 2 * n_groups * d_state
    return CountedMixer(
        name="Mamba-2",
        per_width=d_inner + d_conv + n_heads + d_inner,  # in: gate, convolved, steps; out
        matrices=d_conv * kernel,
        vectors=d_conv + 3 * n_heads + d_inner,  # its bias; steps, decays, skips; a norm
    )


def gated_delta(n_key_heads: int, n_value_heads: int, d_head: int, kernel: int) -> CountedMixer:
    """Linear attention with a gated delta rule (Yang et al. 2024, arXiv 2412.06464)."""
    d_key, d_value = n_key_heads * d_head, n_value_heads * d_head
    return CountedMixer(
        name="gated delta rule",
        per_width=2 * d_key + 2 * d_value + 2 * n_value_heads + d_value,
        matrices=(2 * d_key + d_value) * kernel,
        vectors=2 * n_value_heads + d_head,
    )


def sparse_latent(
    n_heads: int, q_rank: int, d_head: int, d_value: int, n_index_heads: int
) -> CountedMixer:
    """Latent attention to the 2,048 positions that a cheap indexer picks (GLM-5, DeepSeek-V3.2)."""
    kv_rank, d_rope, d_index = 512, 64, 128
    return CountedMixer(
        name="sparse latent attention",
        per_width=q_rank + kv_rank + d_rope + n_heads * d_value + d_index + n_index_heads,
        matrices=q_rank * (n_heads * (d_head + d_rope) + n_index_heads * d_index)
        + kv_rank * n_heads * (d_head + d_value),
        vectors=q_rank + kv_rank + 2 * d_index,
        cached_per_position=kv_rank + d_rope + d_index,
        flops_per_position=2 * n_index_heads * d_index,
    )


def compressed(
    rate: int, n_heads: int, q_rank: int, n_output_groups: int, *, indexer: bool = False
) -> CountedMixer:
    """DeepSeek-V4's attention: one key head, a window of 128, and every `rate` positions as one.

    With `rate` 0 there is the window alone. With an indexer, compressed positions overlap (twice
    the width) and only the best of them are read; without one, all are.
    """
    d_head, o_rank = 512, 1024
    per_width = q_rank + d_head + n_output_groups * o_rank
    matrices = n_heads * d_head * (q_rank + o_rank)
    vectors = q_rank + d_head + n_heads
    if not rate:
        return CountedMixer(
            name="window of 128", per_width=per_width, matrices=matrices, vectors=vectors
        )
    d_entry = d_head * (1 + indexer)
    cached, flops = d_head / rate, 4 * n_heads * d_head / rate
    per_width += 2 * d_entry
    vectors += rate * d_entry + d_head
    if indexer:
        n_index_heads, d_index = 64, 128
        per_width += 4 * d_index + n_index_heads
        matrices += q_rank * n_index_heads * d_index
        vectors += rate * 2 * d_index + d_index
        cached, flops = (d_head + d_index) / rate, 2 * n_index_heads * d_index / rate
    return CountedMixer(
        name=f"{rate} positions as one",
        per_width=per_width,
        matrices=matrices,
        vectors=vectors,
        cached_per_position=cached,
        flops_per_position=flops,
    )
