"""transformers' Mixtral block with our weights: the peer that most people have at hand."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.bench.grid import Shape
from moe_teach.nn.moe import MoE

BACKENDS = ("eager", "batched_mm", "grouped_mm")
MAX_GATHERED_BYTES = 1 << 30  # batched_mm copies the matrices once for each row


class _Flat(nn.Module):
    """Call a block of transformers, which wants a batch axis, on flat tokens."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Add the batch axis and take it away again."""
        return self.block(x[None])[0]


def mixtral_configs(shape: Shape) -> Iterator[tuple[str, Any]]:
    """Give the name of each expert back-end with Mixtral's configuration for it.

    `batched_mm` is left out where its copies of the matrices would exceed 1 GiB in float32.
    """
    from transformers.models.mixtral.configuration_mixtral import MixtralConfig

    for backend in BACKENDS:
        if backend == "batched_mm" and shape.gathered_bytes > MAX_GATHERED_BYTES:
            continue
        config = MixtralConfig(
            hidden_size=shape.d_model,
            intermediate_size=shape.d_ff,
            num_local_experts=shape.n_experts,
            num_experts_per_tok=shape.top_k,
        )
        config._experts_implementation = backend
        yield backend, config


def transformers_blocks(shape: Shape, layer: MoE) -> Iterator[tuple[str, nn.Module]]:
    """Give Mixtral's block with each of its expert back-ends; nothing without transformers."""
    try:
        from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
    except ImportError:
        return
    weights = layer.experts.weights
    with torch.no_grad():
        gate_up = nn.Parameter(torch.cat([weights.w_gate, weights.w_up], dim=1))
    for backend, config in mixtral_configs(shape):
        # Matrices of their own for every block would fill a GPU at the sizes of large models.
        with torch.device("meta"):
            block = MixtralSparseMoeBlock(config)
        block.gate.weight = layer.router.proj.weight
        block.experts.gate_up_proj, block.experts.down_proj = gate_up, weights.w_down
        yield backend, _Flat(block)
