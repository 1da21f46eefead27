"""One digest for many tensors: which numbers, under which names, in which dtype and shape."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor


def digest_of_tensors(named: Iterable[tuple[str, Tensor]], said: bytes = b"") -> str:
    """Return the SHA-256 of tensors and of what is said of them; their order does not matter."""
    digest = hashlib.sha256(said)
    for name, tensor in sorted(named, key=lambda pair: pair[0]):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"\n{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
