"""How a tensor of a published block becomes tensors of ours, and back: by moving numbers only.

A `View` knows both ways. Nothing in it computes, so gradients travel by the same rule as weights.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from moe_teach.config import MoEConfig

Split = Callable[[Tensor, MoEConfig], Sequence[Tensor]]
Join = Callable[[Sequence[Tensor], MoEConfig], Tensor]


class View(NamedTuple):
    """`split` gives our tensors out of one of theirs, `join` theirs out of ours."""

    split: Split
    join: Join


class Piece(NamedTuple):
    """One tensor of a published block and the tensors of ours that hold the same numbers.

    With "{e}" in its name, `theirs` is one tensor for each expert, stacked before the view.
    `when` says for which layers the tensor exists.
    """

    theirs: str
    ours: tuple[str, ...]
    view: View
    when: Callable[[MoEConfig], object] = lambda moe: True


SAME = View(lambda theirs, moe: (theirs,), lambda ours, moe: ours[0])
"""The same tensor under another name."""

HALVES = View(
    lambda theirs, moe: theirs.chunk(2, dim=1), lambda ours, moe: torch.cat(tuple(ours), dim=1)
)
"""(E, 2F, ...): all features of the gate, then all of the other matrix."""
