"""What the checks of several exercises share."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close, is_tensor
from moe_teach.judging.exercise import require, require_tensor


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


def strided(tensor: Tensor) -> Tensor:
    """Give the same numbers with other strides: what a transpose somewhere before leaves behind."""
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)


def far_apart(logits: Tensor) -> Tensor:
    """Spread logits over hundreds within a row, and shift every second row by 200.

    Their exponentials overflow float32, and a maximum over all rows leaves zeros in some; float64
    still holds them all.
    """
    shifts = 100.0 - 200.0 * (torch.arange(len(logits)) % 2)
    return 100 * logits + shifts[:, None]


def edges(given: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give the same inputs in other kinds: what they are, what likely breaks there, and they."""

    def turned(change: Any) -> dict[str, Any]:
        return {name: change(v) if is_tensor(v) else v for name, v in given.items()}

    yield (
        "inputs in float64",
        "Something is rounded to float32 on the way: `.float()`, or a tensor made without a dtype.",
        turned(Tensor.double),
    )
    yield (
        "transposed inputs, which are not contiguous",
        "`view` and code that counts places in memory read them in another order; `reshape` and "
        "indexing do not.",
        turned(strided),
    )
    yield (
        "logits that are hundreds apart",
        "`exp` of a large logit is infinite in float32, and one maximum over all tokens leaves "
        "zeros. `softmax` and `log_softmax` subtract the largest logit of each token first.",
        {**given, "logits": far_apart(given["logits"])},
    )


def require_edges(answer: Any, expected: Any, given: dict[str, Any]) -> None:
    """Reject an answer that loses its way, or its precision, on inputs of another kind."""
    for what, cause, inputs in edges(given):
        got, right = answer(*inputs.values()), expected(*inputs.values())
        is_precise = right.dtype != torch.float64 or got.dtype == torch.float64
        require(
            is_precise and close(got, right),
            f"Right so far, but not with {what}.",
            cause=cause,
            expected=right,
            got=got,
            example=inputs,
        )
