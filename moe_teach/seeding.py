"""Randomness as a pure function of seeds, so that resuming needs no stored generator."""

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def mixed(*numbers: int) -> int:
    """Mix several numbers into one 63-bit seed; neighbours give unrelated seeds."""
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextlib.contextmanager
def seeded(*numbers: int, device: torch.device | None = None) -> Iterator[None]:
    """Draw from generators of these numbers inside the block; no other draw is disturbed.

    The generator of the CPU is seeded and that of `device`, and both are put back afterwards.
    """
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # torch.manual_seed would seed every GPU's generator, and nobody puts those back.
        torch.default_generator.manual_seed(mixed(*numbers))
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(mixed(*numbers))
        yield
