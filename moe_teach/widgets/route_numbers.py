"""Numbers of paths that the route explorer shows: counts, bits, and where two paths part."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
import torch

from moe_teach.config import refuse

Array = np.ndarray | torch.Tensor | list  # given as any of them, kept as NumPy
Places = list[tuple[int, int]]


def compared(first: Sequence[str], second: Sequence[str]) -> Places:
    """Give the places of tokens that two texts share, from the first difference on.

    Before it a causal model cannot tell the two apart, and its paths are the same by construction.
    """
    same = next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    tails = SequenceMatcher(None, first[same:], second[same:], autojunk=False)
    return [
        (same + block.a + i, same + block.b + i)
        for block in tails.get_matching_blocks()
        for i in range(block.size)
    ]


def divergence(first: Array, second: Array, places: Places) -> np.ndarray:
    """Give for each layer the share of choices that differ: the mean of 1 - |A and B| / K.

    `first` and `second` are the expert ids of two texts, (T, L, K); `places` pairs their tokens.
    """
    own, other = np.asarray(first), np.asarray(second)
    pairs = zip(own[[i for i, _ in places]], other[[j for _, j in places]], strict=True)
    shared = [(a[..., :, None] == b[..., None, :]).any(-1).mean(-1) for a, b in pairs]
    return 1 - np.mean(shared, axis=0)


def counts_by_domain(
    expert_ids: Array, domain_ids: Array, n_experts: int, n_domains: int
) -> np.ndarray:
    """Count choices: from ids (T, L, K) and the domain of every token (T,) to (L, E, D)."""
    ids, domains = np.asarray(expert_ids), np.asarray(domain_ids)
    counts = np.zeros((ids.shape[1], n_experts, n_domains))
    layers = np.arange(ids.shape[1])[None, :, None]
    np.add.at(counts, (layers, ids, domains[:, None, None]), 1)
    return counts


def bits_about_domain(counts: np.ndarray) -> np.ndarray:
    """Give for each layer the mutual information of expert and domain, (L, E, D) to (L,) bits.

    The plug-in estimate sum p(e, d) log2 p(e, d) / (p(e) p(d)) over choices; counting alone lifts
    it a little above the truth, which is what the shuffled domains show.
    """
    joint = counts / counts.sum((1, 2), keepdims=True)
    apart = joint.sum(1, keepdims=True) * joint.sum(2, keepdims=True)
    ratio = np.divide(joint, apart, out=np.ones_like(joint), where=joint > 0)
    return (joint * np.log2(ratio)).sum((1, 2))


def table(
    name: str, values: Array, shape: tuple[int | None, ...], *, also: float | None = None
) -> np.ndarray:
    """Read finite numbers of a shape, or `also`; None stands for any positive length."""
    read = numbers(values)
    fits = read.ndim == len(shape) and 0 not in read.shape
    fits = fits and all(n in (None, m) for n, m in zip(shape, read.shape, strict=True))
    wanted = ", ".join("any" if n is None else str(n) for n in shape)
    refuse(not fits, f"{name} must have the shape ({wanted}); it has {tuple(read.shape)}.")
    known = np.isfinite(read)
    if also is not None:
        known |= np.isnan(read) if np.isnan(also) else read == also
    refuse(not known.all(), f"{name} must hold finite numbers.")
    return read


def numbers(values: Array) -> np.ndarray:
    """Read whatever holds numbers as float64; what holds none gives an empty array."""
    try:
        taken = values.detach().cpu().double() if isinstance(values, torch.Tensor) else values
        return np.asarray(taken, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty(0)
