"""What the checks of several exercises share."""

from typing import Any

from torch import Tensor

from moe_teach.judging.compare import require_tensor
from moe_teach.judging.exercise import require


def _scalar(got: Any, **example: Any) -> None:
    require_tensor(got, example)
    require(
        got.dim() == 0,
        "The loss is one number: take the mean over the tokens at the end.",
        got=got,
        example=example,
    )


def _own_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    return (targets[:, None, :] - outputs).square().sum(dim=-1)
