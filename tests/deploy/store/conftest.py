"""A small model written as a released checkpoint, once for all tests of the store."""

from pathlib import Path

import pytest
import torch

from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.nn.model import Model

STORED = ModelConfig(
    n_layers=4,
    d_model=32,
    vocab_size=31,
    attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=16, qk_norm="full"),
    moe=MoEConfig(router=RouterConfig(n_experts=6, top_k=2, normalize_gates=False), d_ff=24),
    max_seq_len=64,
    tie_embeddings=False,
)


def written(folder: Path, dtype: torch.dtype) -> Path:
    """Write a model in several files, so that some experts are cut in two by the end of one."""
    torch.manual_seed(3)
    model = Model(STORED).to(dtype)
    for block in model.blocks:
        torch.nn.init.normal_(block.ffn.router.proj.weight)
    export_hf(model, folder, "olmoe", shard_bytes=60_000)
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("stored") / "model", torch.bfloat16)


@pytest.fixture(scope="session")
def precise_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("precise") / "model", torch.float32)
