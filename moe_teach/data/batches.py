"""Batches as a pure function of seed and step: a run that resumes needs no state of its data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from moe_teach.config import refuse

NO_TARGET = -100  # torch's cross-entropy passes over it


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of text and what follows each of their tokens.

    `domain_ids` numbers the domain of each row. A target of -100 is not asked for.

    `real` tells text from padding, which then counts nowhere: no text sees it, and it takes no
    expert's place. Without it the model reads all positions, and losses and loads of the routers
    are of those that are asked for.
    """

    inputs: Int[Tensor, "B S"]
    targets: Int[Tensor, "B S"]
    domain_ids: Int[Tensor, " B"]
    real: Bool[Tensor, "B S"] | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        return self.map(lambda rows: rows.to(device, non_blocking=True))

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with a function of its rows taken of every part."""
        real = None if self.real is None else function(self.real)
        return Batch(*map(function, (self.inputs, self.targets, self.domain_ids)), real)

    def through(self, model: Callable[..., Any]) -> Any:
        """Return what a model answers; it is told of padding where there is a mask."""
        return model(self.inputs) if self.real is None else model(self.inputs, real=self.real)


def text_mask(
    targets: Int[Tensor, "B S"], real: Bool[Tensor, "B S"] | None = None
) -> Bool[Tensor, "B S"]:
    """Tell which positions count: those of text where a mask says so, else those asked for."""
    return targets != NO_TARGET if real is None else real


class Batches:
    """Random windows of every domain, mixed in fixed shares.

    Args:
        token_ids: one long sequence for each domain.
        batch_size: rows of a batch (B).
        seq_len: tokens of a row (S).
        seed: another seed, other batches.
        weights: how much of each domain; equal by default. Each batch has a domain's share of
            its rows, rounded up or down at random so that the average is exact.

    Raises:
        ValueError: a size is not positive, a domain is shorter than a window, or the weights do
            not fit the domains.
    """

    def __init__(
        self,
        token_ids: Mapping[str, Int[Tensor, " _"]],
        batch_size: int,
        seq_len: int,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        _check(token_ids, batch_size, seq_len)
        self.token_ids = dict(token_ids)
        self.batch_size = batch_size
        self.seq_len = seq_len
        self.seed = seed
        self.weights = _shares(self.domains, weights)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains, as `domain_ids` numbers them."""
        return tuple(self.token_ids)

    def at(self, step: int) -> Batch:
        """Return the batch of a step; the same for the same seed and step, on any machine."""
        refuse(step < 0, f"Steps count from 0, but the step is {step}.")
        # A counter-based generator: its numbers are a function of key and counter, nothing is
        # kept from step to step. `random_raw` is the part of it that NumPy promises not to change.
        source = np.random.Philox(key=self.seed % 2**64, counter=[0, step, 0, 0])
        draw = source.random_raw(1 + 2 * self.batch_size)
        domain_ids = self._domains_of_rows(draw[0], draw[1 : 1 + self.batch_size])
        windows = []
        for domain_id, number in zip(domain_ids, draw[1 + self.batch_size :], strict=True):
            ids = self.token_ids[self.domains[domain_id]]
            start = int(number) % (len(ids) - self.seq_len)
            windows.append(ids[start : start + self.seq_len + 1])
        return _batch(windows, domain_ids)

    def _domains_of_rows(self, offset: np.uint64, keys: np.ndarray) -> list[int]:
        """Spread evenly spaced points over the shares, then shuffle the rows."""
        points = (np.arange(self.batch_size) + int(offset) / 2**64) / self.batch_size
        ends = np.cumsum([self.weights[domain] for domain in self.domains])
        domains = np.searchsorted(ends, points * ends[-1], side="right")
        return domains.clip(max=len(ends) - 1)[np.argsort(keys, kind="stable")].tolist()


def evaluation_batches(
    token_ids: Mapping[str, Int[Tensor, " _"]],
    batch_size: int,
    seq_len: int,
    limit: int | None = None,
) -> list[Batch]:
    """Return the same batches every time: windows side by side, the domains taking turns by row.

    Every batch holds all domains in equal parts (as nearly as the batch size allows), so that
    whatever is read off one batch is not the state of a single domain.

    Args:
        token_ids: one long sequence for each domain, the validation side.
        batch_size: rows of a batch (B); the last batch may have fewer.
        seq_len: tokens of a row (S).
        limit: at most so many windows of each domain; where there are more, they are spaced
            evenly over it. Without a limit, as many as the shortest domain has.
    """
    _check(token_ids, batch_size, seq_len)
    fits = {domain: (len(ids) - 1) // seq_len for domain, ids in token_ids.items()}
    n_windows = min(fits.values()) if limit is None else min(limit, *fits.values())
    rows = [
        (domain_id, ids[start : start + seq_len + 1])
        for window in range(n_windows)
        for domain_id, (domain, ids) in enumerate(token_ids.items())
        for start in [window * fits[domain] // n_windows * seq_len]
    ]
    batches = []
    for first in range(0, len(rows), batch_size):
        domain_ids, windows = zip(*rows[first : first + batch_size], strict=True)
        batches.append(_batch(list(windows), list(domain_ids)))
    return batches


def _batch(windows: list[Tensor], domain_ids: list[int]) -> Batch:
    rows = torch.stack(windows).long()
    return Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), torch.tensor(domain_ids))


def _check(token_ids: Mapping[str, Tensor], batch_size: int, seq_len: int) -> None:
    refuse(not token_ids, "There is no text to make batches of: token_ids is empty.")
    refuse(batch_size < 1, f"batch_size must be at least 1, but it is {batch_size}.")
    refuse(seq_len < 1, f"seq_len must be at least 1, but it is {seq_len}.")
    for domain, ids in token_ids.items():
        refuse(
            len(ids) <= seq_len,
            f"{domain!r} has {len(ids)} tokens; a window of {seq_len} and the token after it need "
            f"at least {seq_len + 1}.",
        )


def _shares(domains: tuple[str, ...], weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return {domain: 1 / len(domains) for domain in domains}
    refuse(
        set(weights) != set(domains),
        f"weights must name the domains {domains}, but they name {tuple(weights)}.",
    )
    total = sum(weights.values())
    refuse(
        min(weights.values()) < 0 or not 0 < total < float("inf"),
        f"weights must not be negative and must have a positive sum; they are {dict(weights)}.",
    )
    return {domain: weights[domain] / total for domain in domains}
