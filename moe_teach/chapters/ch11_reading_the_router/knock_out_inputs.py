"""Chapter 11, exercise 11.3: batches, and a made-up model that runs without one of its experts."""

from collections.abc import Callable

import torch
from torch import Tensor

from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.judging.exercise import generator

Losses = Callable[[Batch, int | None], Tensor]
N_EXPERTS, N_DOMAINS = 4, 3


def some_batches(seed: int, *, one_row: bool = False) -> list[Batch]:
    """Draw batches of different sizes; domain 1 is rare, and domain 2 absent from the last."""
    random = generator(seed)
    batches = []
    for rows, length in ((1, 3),) if one_row else ((5, 4), (3, 7), (2, 4)):
        ids = torch.randint(50, (rows, length), generator=random)
        targets = torch.randint(50, (rows, length), generator=random)
        targets[0, 0] = 0  # a token like any other
        hidden = torch.rand(rows, length, generator=random) < 0.3
        hidden[:, 0] = False
        domains = torch.randint(N_DOMAINS, (rows,), generator=random)
        batches.append(Batch(ids, targets.masked_fill(hidden, NO_TARGET), domains))
    if not one_row:
        batches[-1].domain_ids.fill_(0)
        batches[0].domain_ids[:3] = torch.tensor([0, 1, 2])
    return batches


def some_losses(seed: int, junk: float = 0.0) -> Losses:
    """Make a model's losses up: they depend on token, domain and the expert that is missing.

    Where nobody is asked, `junk` is added to numbers that mean nothing.
    """
    random = generator(seed + 1000)
    base = 3 * torch.rand(50, generator=random)
    worse = torch.rand(N_EXPERTS, N_DOMAINS, generator=random) - 0.1
    worse[0] = -worse[0]  # some expert is in the way

    def losses(batch: Batch, expert: int | None) -> Tensor:
        rise = 0 if expert is None else worse[expert][batch.domain_ids][:, None]
        found = base[batch.inputs] * (1 + rise)
        nothing = junk + (77.0 if expert is None else 50.0 + 9 * expert)
        return found.masked_fill(batch.targets == NO_TARGET, nothing)

    return losses
