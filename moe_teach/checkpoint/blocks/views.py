"""How a tensor of a published block becomes tensors of ours, and back: by moving numbers only.

A `View` knows both ways. Nothing in it computes, so gradients travel by the same rule as weights.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
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


def transposed(view: View) -> View:
    """Return the view of a tensor whose last two axes are the other way round: (in, out)."""
    return View(
        lambda theirs, moe: view.split(theirs.mT, moe),
        lambda ours, moe: view.join(ours, moe).mT,
    )


def computing_alone(view: View) -> View:
    """Return the view of a tensor that has rows also for experts that compute nothing.

    Nobody reads those rows: they are zeros on the way back, as their gradients are.
    """
    return View(
        lambda theirs, moe: view.split(theirs[: moe.n_computing_experts], moe),
        lambda ours, moe: F.pad(view.join(ours, moe), (0, 0, 0, 0, 0, moe.n_identity_experts)),
    )


def _interleaved(theirs: Tensor, moe: MoEConfig) -> Sequence[Tensor]:
    return theirs[:, ::2], theirs[:, 1::2]


def _alternately(ours: Sequence[Tensor], moe: MoEConfig) -> Tensor:
    return torch.stack(tuple(ours), dim=2).flatten(1, 2)


SAME = View(lambda theirs, moe: (theirs,), lambda ours, moe: ours[0])
"""The same tensor under another name."""

ROW = View(lambda theirs, moe: (theirs[0],), lambda ours, moe: ours[0][None])
"""(1, E) where ours is (E,)."""

HALVES = View(
    lambda theirs, moe: theirs.chunk(2, dim=1), lambda ours, moe: torch.cat(tuple(ours), dim=1)
)
"""(E, 2F, ...): all features of the gate, then all of the other matrix."""

INTERLEAVED = View(_interleaved, _alternately)
"""(E, 2F, ...): a feature of the gate, one of the other matrix, and so on in turns."""

FLAT = View(
    lambda theirs, moe: (theirs.unflatten(0, (moe.router.n_experts, moe.d_ff)),),
    lambda ours, moe: ours[0].flatten(0, 1),
)
"""(E * F, D): the matrices of all experts, one below the other."""

FLAT_TURNED = View(
    lambda theirs, moe: (FLAT.split(theirs, moe)[0].mT,),
    lambda ours, moe: FLAT.join([ours[0].mT], moe),
)
"""The same of matrices that multiply from the other side, (E, D, F) here."""
