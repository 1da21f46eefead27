"""Experts of one layer that lie on a disk, in the place of `Experts`."""

from contextlib import closing

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import Activation, refuse
from moe_teach.deploy.store.expert_store import ExpertStore
from moe_teach.ops.grouped_ffn import grouped_ffn
from moe_teach.ops.grouped_ffn.expertwise import rows_of_each
from moe_teach.types import ExpertWeights


class StoredExperts(nn.Module):
    """Called as `Experts` is, and gives the same answers.

    They are equal to the last bit to those of experts in memory that are visited one by one, as
    in decoding. For many rows, evenly spread, `Experts` may take one batched product for all
    experts, which rounds its sums otherwise; to compare, force `using(grouped_ffn="expertwise")`.

    It holds no parameters: what is in memory belongs to the store, which all layers share. Where
    the rows have another dtype than the file, or are on another device, each expert is converted
    when it is used, and the budget does not count the copy.
    """

    def __init__(self, store: ExpertStore, layer: int, activation: Activation) -> None:
        super().__init__()
        self.store = store
        self.layer = layer
        self.activation = activation

    def forward(
        self, rows: Float[Tensor, "N D"], expert_offsets: Int[Tensor, " E"]
    ) -> Float[Tensor, "N D"]:
        """Run each expert on its own slice of rows; those in memory first.

        Raises:
            UnreadableExperts: the disk does not give an expert.
        """
        refuse(
            torch.is_grad_enabled() and rows.requires_grad,
            "Experts on a disk cannot be trained: call the model under torch.no_grad(), or load "
            "it whole.",
        )
        counts = rows_of_each(expert_offsets)
        slices = rows.split(counts)
        answers = torch.empty_like(rows)
        places = answers.split(counts)
        wanted = [expert for expert, count in enumerate(counts) if count]
        with closing(self.store.serve(self.layer, wanted)) as served:
            for expert, weights in served:
                end = expert_offsets.new_tensor([counts[expert]])
                places[expert].copy_(self._answer(slices[expert], end, weights))
        return answers

    def _answer(self, rows: Tensor, end: Tensor, weights: ExpertWeights) -> Tensor:
        matrices = (weights.w_up, weights.w_down, weights.w_gate)
        own = ExpertWeights(*(None if m is None else m.to(rows) for m in matrices))
        return grouped_ffn(rows, end, own, self.activation, backend="expertwise")

    def extra_repr(self) -> str:
        """Say what it is when the module is printed."""
        return f"layer={self.layer}, activation={self.activation!r}, on disk"
