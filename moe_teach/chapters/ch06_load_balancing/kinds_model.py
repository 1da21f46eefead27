"""The toy of chapter 06 as a training loop takes it: batches, and a model on any layer."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from moe_teach.chapters.ch06_load_balancing.experiments.kinds import (
    BATCH,
    D_FF,
    D_MODEL,
    N_CLASSES,
    N_KINDS,
    N_TEST,
    N_TRAIN,
    Samples,
    tokens_of_kinds,
)
from moe_teach.nn.model import ModelOutput

LEARNING_RATE = 0.005
LAYER_SIZES = (D_MODEL, N_KINDS, 1, D_FF, False)  # for `MyMoE`: one expert, its gate a probability


@lru_cache(maxsize=8)
def _samples(seed: int) -> Samples:
    """Draw a seed's tokens once: a batch is a copy of some of them, and a check takes many."""
    return tokens_of_kinds(seed, N_TRAIN + N_TEST)


@dataclass(frozen=True)
class KindsBatch:
    """`inputs` are token vectors (B, 1, D), `targets` their labels (B, 1)."""

    inputs: Tensor
    targets: Tensor


class KindsBatches:
    """Batches of tokens of eight kinds; a step's batch is always the same one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.samples = _samples(seed)

    def at(self, step: int) -> KindsBatch:
        """Give the batch of a step."""
        draw = torch.Generator().manual_seed(10_000 * self.seed + step)
        return self._of(torch.randint(N_TRAIN, (BATCH,), generator=draw))

    @property
    def test(self) -> KindsBatch:
        """Tokens that no step has seen."""
        return self._of(torch.arange(N_TRAIN, N_TRAIN + N_TEST))

    def _of(self, rows: Tensor) -> KindsBatch:
        return KindsBatch(self.samples.x[rows][:, None], self.samples.label[rows][:, None])


class KindsModel(nn.Module):
    """One layer and nothing else: the first numbers of its answer are the logits of the labels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        # Large logits would decide before anything is learned.
        nn.init.normal_(layer.router.weight, std=(0.1 / D_MODEL) ** 0.5)

    def forward(self, x: Tensor) -> ModelOutput:
        """Return logits (B, 1, 2) and the routing of the layer."""
        y, routing = self.layer(x)
        return ModelOutput(y[..., :N_CLASSES], (routing,))


@torch.no_grad()
def experts_in_use(model: KindsModel, batches: KindsBatches) -> int:
    """Count the experts with at least a tenth of the fair share of the test tokens."""
    (routing,) = model(batches.test.inputs).routings
    counts = torch.bincount(routing.expert_ids.flatten(), minlength=routing.n_experts)
    return int((counts >= 0.1 * counts.sum() / routing.n_experts).sum())
