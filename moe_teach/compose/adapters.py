"""Low-rank adapters of single experts (LoRA, Hu et al. 2021, arXiv 2106.09685), in fused tensors.

An expert's matrix W is left as it is, and what is trained is a product of two thin matrices beside
it: W + (alpha / rank) * up @ down. `up` starts at zero, so that at first nothing changes.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from moe_teach.compose.slots import layers_with_experts, moe_of
from moe_teach.compose.trainable import demand_experts, in_old_order
from moe_teach.config import refuse
from moe_teach.nn.experts import Experts
from moe_teach.nn.model import Model


class ExpertAdapters:
    """Adapters on some experts of a model; while they are there, nothing else of it is trained.

    They work from the moment they are made until `merge` or `remove`, and the model may be trained
    and asked as usual meanwhile. Save it afterwards: with adapters, its tensors have other names.

    Args:
        model: of the library's parts.
        rank: inner width r of the products. A matrix (F, D) is then trained as r * (F + D) numbers.
        experts: layer -> the experts in it that get adapters; all by default.
        alpha: the product's factor is alpha / rank; by default alpha is the rank.
        seed: of the first `down` matrices.

    Raises:
        ValueError: the rank is below 1, there is no such layer or expert, one is named twice, none
            is named, or the model has adapters already.
    """

    def __init__(
        self,
        model: Model,
        rank: int,
        experts: Mapping[int, Sequence[int]] | None = None,
        *,
        alpha: float | None = None,
        seed: int = 0,
    ) -> None:
        refuse(rank < 1, f"The rank of an adapter is 1 or more, and not {rank}.")
        if experts is None:
            layers = layers_with_experts(model)
            experts = {n: range(len(moe_of(model, n).experts.w_up)) for n in layers}
        rows = demand_experts(model, experts)
        self.model, self.rank = model, rank
        self._layers = {layer: moe_of(model, layer).experts for layer in rows}
        refuse(
            any(map(parametrize.is_parametrized, self._layers.values())),
            "These experts have adapters already, or only some of them are being trained: merge "
            "or remove those first.",
        )
        self._before = {name: p.requires_grad for name, p in model.named_parameters()}
        self._orders = {layer: list(part._parameters) for layer, part in self._layers.items()}
        model.requires_grad_(False)
        source = torch.Generator().manual_seed(seed)
        factor = (rank if alpha is None else alpha) / rank
        for layer, part in self._layers.items():
            for name in _matrices(part):
                whole = part.get_parameter(name)
                product = _Product(whole, rows[layer], rank, factor, source)
                parametrize.register_parametrization(part, name, product)

    @property
    def n_trained(self) -> int:
        """How many numbers the adapters have."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def merge(self) -> None:
        """Add the products to the experts' matrices for good; the model answers as before."""
        self._end(leave=True)

    def remove(self) -> None:
        """Take the adapters away; the model is what it was before them, bit for bit."""
        self._end(leave=False)

    def _end(self, *, leave: bool) -> None:
        refuse(not self._layers, "These adapters were merged or removed before.")
        for layer, part in self._layers.items():
            for name in _matrices(part):
                parametrize.remove_parametrizations(part, name, leave_parametrized=leave)
            in_old_order(part, self._orders[layer])
        self._layers = {}
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._before[name])


def _matrices(part: Experts) -> Iterator[str]:
    """Give the names of an expert's matrices; its biases have no rank to lower."""
    return (n for n in ("w_up", "w_down", "w_gate") if getattr(part, n) is not None)


class _Product(nn.Module):
    """A fused tensor to which each adapted expert's product is added; other rows are copied."""

    def __init__(
        self,
        whole: Float[Tensor, "E out in_"],
        ids: Int[Tensor, " n"],
        rank: int,
        factor: float,
        source: torch.Generator,
    ) -> None:
        super().__init__()
        n_experts, (d_out, d_in) = len(ids), whole.shape[1:]
        drawn = torch.randn(n_experts, rank, d_in, generator=source) * d_in**-0.5
        self.down = nn.Parameter(drawn.to(whole))
        self.up = nn.Parameter(whole.new_zeros(n_experts, d_out, rank))
        self.register_buffer("ids", ids.to(whole.device))
        self.factor = factor

    def forward(self, whole: Float[Tensor, "E out in_"]) -> Float[Tensor, "E out in_"]:
        product = (self.up @ self.down).to(whole)  # autocast makes it narrower
        return whole.index_add(0, self.ids, product, alpha=self.factor)
