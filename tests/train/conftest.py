"""A model and batches small enough to train in a test."""

from dataclasses import dataclass

import pytest
import torch

from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.train.seeding import seeded_model

VOCABULARY = 29


@dataclass(frozen=True)
class TinyBatches:
    """Sequences that count upwards by 1 (domain 0) or by 2 (domain 1), a pure function of step."""

    batch_size: int = 6
    seq_len: int = 7
    domains: tuple[str, ...] = ("by one", "by two")

    def at(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        domain_ids = torch.arange(self.batch_size) % 2
        start = torch.randint(0, VOCABULARY, (self.batch_size, 1), generator=generator)
        text = (start + torch.arange(self.seq_len + 1) * (domain_ids[:, None] + 1)) % VOCABULARY
        return Batch(text[:, :-1].clone(), text[:, 1:].clone(), domain_ids)


def tiny_config(moe: bool = True, **options) -> ModelConfig:
    limits = {
        name: options.pop(name) for name in ("capacity_factor", "drop_policy") & options.keys()
    }
    choice = RouterConfig(**{"n_experts": 5, "top_k": 2, **options})
    return ModelConfig(
        n_layers=2,
        d_model=16,
        vocab_size=VOCABULARY,
        attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=8),
        moe=MoEConfig(router=choice, d_ff=12, **limits) if moe else None,
        d_ff_dense=24,
        max_seq_len=32,
    )


@pytest.fixture
def batches() -> TinyBatches:
    return TinyBatches()


@pytest.fixture
def make_model():
    """Build the same tiny model every time: make_model(moe=True, seed=0, **router or layer)."""

    def make(moe: bool = True, seed: int = 0, **router) -> Model:
        return seeded_model(tiny_config(moe, **router), seed)

    return make
