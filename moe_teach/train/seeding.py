"""Randomness as a pure function of seeds, so that resuming needs no stored generator."""

import contextlib
import hashlib
from collections.abc import Iterator

import torch

from moe_teach.config import ModelConfig
from moe_teach.nn.model import Model


def mixed(*numbers: int) -> int:
    """Mix several numbers into one 63-bit seed; neighbours give unrelated seeds."""
    digest = hashlib.sha256(",".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextlib.contextmanager
def seeded(*numbers: int, device: torch.device | None = None) -> Iterator[None]:
    """Draw from a generator of these numbers inside the block; the outer one is not disturbed."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(mixed(*numbers))
        yield


def seeded_model(config: ModelConfig, seed: int) -> Model:
    """Build a model whose first weights depend on the seed alone."""
    with seeded(seed):
        return Model(config)
