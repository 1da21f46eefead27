"""Data parallelism: every process takes its rows of the batch, and their gradients are summed.

There is no wrapper around the model and no hook: `Ranks.sum_` is the only way in which processes
speak. Alone, a process is rank 0 of 1 and nothing is sent.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from moe_teach.config import refuse


def shard(rows: Tensor, index: int, n_parts: int) -> Tensor:
    """Return part `index` of the rows, cut into `n_parts` equal neighbourhoods.

    A pure function: ranks and micro-batches both use it, and all parts in order are the batch.

    Raises:
        ValueError: if the rows cannot be cut evenly.
    """
    refuse(
        len(rows) % n_parts != 0,
        f"A batch of {len(rows)} sequences cannot be cut into {n_parts} equal parts: choose a "
        "batch_size that the number of processes times accumulate divides.",
    )
    size = len(rows) // n_parts
    return rows[index * size : (index + 1) * size]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process of how many this is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> "Ranks":
        """Ask torch.distributed, if it is running."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all processes, in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        pieces = flat.split([tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def align(self, model: nn.Module) -> None:
        """Give every process the weights and buffers of the first one."""
        if self.size > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor.detach(), src=0)

    def wait(self) -> None:
        """Return when every process has come this far."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def connected() -> Iterator[Ranks]:
    """Join the processes that `torchrun` started, if it did; leave them at the end.

    GPUs speak through nccl, CPUs through gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks.here()
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Ranks.here()
    finally:
        dist.destroy_process_group()
