"""The dtype in which matrices meet their rows."""

import torch
from torch import Tensor


def in_one_precision(rows: Tensor, *matrices: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return rows and matrices in the dtype they will be multiplied in.

    Under autocast everything is cast, as in any other matrix multiplication; elsewhere they must
    agree already.

    Raises:
        ValueError: if the dtypes disagree.
    """
    tensors = (rows, *matrices)
    device = rows.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        return tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)
    for matrix in matrices:
        if matrix is not None and matrix.dtype != rows.dtype:
            raise ValueError(
                f"rows hold {rows.dtype} and the experts {matrix.dtype}: convert the layer with "
                f".to({rows.dtype}), or run it under torch.autocast."
            )
    return tensors
