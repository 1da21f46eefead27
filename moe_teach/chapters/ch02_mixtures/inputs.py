"""What the checks of several exercises share."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.compare import close, is_tensor
from moe_teach.judging.exercise import generator, require, require_tensor


def require_scalar(got: Any, **example: Any) -> None:
    """Reject what is not one number."""
    require_tensor(got, example)
    require(
        got.dim() == 0,
        f"The loss is not one number, but of shape {tuple(got.shape)}.",
        cause="An axis is left: the tokens, most likely.",
        cure="Take the mean over the tokens at the end: `.mean()`, without keepdim.",
        got=got,
        example=example,
    )


def own_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Give the squared error of every expert on its own, (T, E)."""
    return (targets[:, None, :] - outputs).square().sum(dim=-1)


SIZES = ((1, 1, 1), (1, 3, 2), (5, 4, 1), (3, 3, 3), (7, 11, 3))  # tokens, experts, outputs


def inputs(sizes: tuple[int, int, int], seed: int) -> dict[str, Tensor]:
    """Draw outputs (T, E, O), logits (T, E) and targets (T, O)."""
    n_tokens, n_experts, d_out = sizes
    draw = generator(seed)
    return {
        "outputs": torch.randn(n_tokens, n_experts, d_out, generator=draw),
        "logits": torch.randn(n_tokens, n_experts, generator=draw),
        "targets": torch.randn(n_tokens, d_out, generator=draw),
    }


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


Mistakes = tuple[tuple[Tensor, str, str, str], ...]  # what each gives, symptom, cause, cure


def require_no_slip(tries: list[tuple[Mistakes, dict[str, Any]]]) -> None:
    """Name the mistake that explains what came in every try, if there is one.

    `tries` pairs what each mistake gives with what was expected, what came, and the inputs: on a
    single small input, many mistakes give the same number.
    """
    for slips in zip(*(mistakes for mistakes, _ in tries), strict=True):
        met = list(zip((value for value, *_ in slips), (tell for _, tell in tries), strict=True))
        _, symptom, cause, cure = slips[0]
        telling = [tell for value, tell in met if not close(value, tell["expected"])]
        explains = bool(telling) and all(close(tell["got"], value) for value, tell in met)
        require(not explains, symptom, cause=cause, cure=cure, **(telling or [{}])[0])


def edges(
    given: dict[str, Any], logits: str = "logits"
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Give the inputs in other kinds: what they are, what likely breaks, what helps, and they.

    `logits` is the name of the argument that is exponentiated.
    """

    def turned(change: Any) -> dict[str, Any]:
        return {name: change(v) if is_tensor(v) else v for name, v in given.items()}

    yield (
        "inputs in float64",
        "Something is rounded to float32 on the way: `.float()`, or a tensor made without a dtype.",
        "Make new tensors like an input, `torch.zeros_like(x)` or dtype=x.dtype, and convert none.",
        turned(Tensor.double),
    )
    yield (
        "transposed inputs, which are not contiguous",
        "`view` and code that counts places in memory read them in another order.",
        "`reshape`, indexing and einsum go by the axes: use one of these.",
        turned(strided),
    )
    yield (
        f"{logits} that are hundreds apart",
        "`exp` of a large number is infinite in float32, and one maximum over all tokens leaves "
        "zeros.",
        "`softmax` and `log_softmax` subtract the largest one of each token first: use them.",
        {**given, logits: far_apart(given[logits])},
    )


def require_edges(
    answer: Any, expected: Any, given: dict[str, Any], logits: str = "logits"
) -> None:
    """Reject an answer that loses its way, or its precision, on inputs of another kind."""
    for what, cause, cure, inputs in edges(given, logits):
        got, right = answer(*inputs.values()), expected(*inputs.values())
        is_precise = right.dtype != torch.float64 or got.dtype == torch.float64
        require(
            is_precise and close(got, right),
            f"Right so far, but not with {what}.",
            cause=cause,
            cure=cure,
            expected=right,
            got=got,
            example=inputs,
        )
