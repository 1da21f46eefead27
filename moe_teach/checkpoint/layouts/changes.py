"""What a tensor goes through on its way to the disk and back: nothing, or another order."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from moe_teach.config import ModelConfig

Step = Callable[[Tensor, ModelConfig], Tensor]


@dataclass(frozen=True)
class Change:
    """A change of order or shape that loses nothing; `from_disk` undoes `to_disk`."""

    name: str
    to_disk: Step
    from_disk: Step
    shape: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda shape: shape


def interleaved(rows: Shaped[Tensor, "R ..."], d_head: int) -> Shaped[Tensor, "R ..."]:
    """Put the rows of every head in the order of rotary pairs that are neighbours.

    Here, as in most published weights, the features i and i + d/2 of a head turn together; some
    architectures and file formats turn 2i and 2i + 1. Attention's products do not depend on the
    order, as long as queries and keys have the same.
    """
    halves = rows.unflatten(0, (-1, 2, d_head // 2))
    return halves.transpose(1, 2).flatten(0, 2)


def in_halves(rows: Shaped[Tensor, "R ..."], d_head: int) -> Shaped[Tensor, "R ..."]:
    """Undo `interleaved`."""
    pairs = rows.unflatten(0, (-1, d_head // 2, 2))
    return pairs.transpose(1, 2).flatten(0, 2)


AS_IS = Change("as it is", lambda tensor, config: tensor, lambda tensor, config: tensor)
INTERLEAVED = Change(
    "rows interleaved",
    lambda tensor, config: interleaved(tensor, config.attention.d_head),
    lambda tensor, config: in_halves(tensor, config.attention.d_head),
)
ONE_ROW = Change(
    "as one row",
    lambda tensor, config: tensor[None],
    lambda tensor, config: tensor[0],
    lambda shape: (1, *shape),
)
