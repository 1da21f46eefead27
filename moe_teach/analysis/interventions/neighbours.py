"""Whether what a text is answered depends on the texts that share its batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.nn.mode import in_evaluation


@dataclass(frozen=True, eq=False)
class NeighbourEffect:
    """The answers to the same texts beside two different sets of neighbours, position by position.

    `changed` says where another next token became the likeliest; `total_variation` is how much
    probability moved, from 0 to 1.
    """

    changed: Bool[Tensor, "B S"]
    total_variation: Float[Tensor, "B S"]

    @property
    def changed_share(self) -> float:
        """The share of predictions that changed: 0 for a model that drops no tokens."""
        return float(self.changed.double().mean())


@torch.no_grad()
def neighbour_effect(
    model: nn.Module,
    texts: Int[Tensor, "B S"],
    neighbours: Int[Tensor, "N S"],
    other_neighbours: Int[Tensor, "N S"],
) -> NeighbourEffect:
    """Answer the same texts twice, beside one set of neighbours and beside another.

    The neighbours stand before the texts in the batch. Where a capacity serves first who comes
    first, that is the worst place for the texts; a random place has less to lose.

    Raises:
        ValueError: there are no texts, or the two sets are not of one shape: a batch of another
            size has another capacity, which is not the question.
    """
    refuse(not texts.numel(), "There are no texts, so no answer can change.")
    refuse(
        neighbours.shape != other_neighbours.shape,
        f"Both sets of neighbours need one shape, so that only their content differs; they are "
        f"{tuple(neighbours.shape)} and {tuple(other_neighbours.shape)}.",
    )
    device = next(model.parameters()).device
    with in_evaluation(model):
        one, other = (
            model(torch.cat([beside, texts]).to(device)).logits[len(beside) :].double()
            for beside in (neighbours, other_neighbours)
        )
    moved = (one.softmax(-1) - other.softmax(-1)).abs().sum(-1) / 2
    return NeighbourEffect((one.argmax(-1) != other.argmax(-1)).cpu(), moved.cpu())
