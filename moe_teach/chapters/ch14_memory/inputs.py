"""Chapter 14: traces and a small model that several exercises use."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.deploy.store.opening import opened_within
from moe_teach.deploy.store.simulator import simulate
from moe_teach.deploy.store.trace import Trace, drawn, record_trace
from moe_teach.nn.model import Model
from moe_teach.seeding import seeded


def some_trace(seed: int, n_tokens: int) -> Trace:
    """Draw a trace of three layers whose favourites change half way."""
    parts = [drawn(n_tokens // 2, 3, 7, 2, skew=1.0, seed=2 * seed + half) for half in (0, 1)]
    ids = torch.cat([part.expert_ids for part in parts])
    return Trace(ids, torch.arange(len(ids)), torch.full((len(ids),), -1), 7)


SMALL = ModelConfig(
    n_layers=3,
    d_model=32,
    vocab_size=31,
    attention=AttentionConfig(n_heads=2, n_kv_heads=2, d_head=16),
    moe=MoEConfig(router=RouterConfig(n_experts=6, top_k=2), d_ff=24),
    max_seq_len=64,
)
SMALL_BUDGET = 80_000  # a few of its 18 experts


class _Prepared(NamedTuple):
    """What no policy changes: a text, what the small model makes of it, and its checkpoint."""

    token_ids: Tensor
    logits: Tensor
    trace: Trace
    files: dict[str, bytes]


@cache
def _prepared() -> _Prepared:
    with seeded(14):
        model = Model(SMALL).eval()
        for block in model.blocks:
            torch.nn.init.normal_(block.ffn.router.proj.weight)
        token_ids = torch.randint(SMALL.vocab_size, (10,))
    with tempfile.TemporaryDirectory() as folder:
        export_hf(model, Path(folder) / "model")
        files = {path.name: path.read_bytes() for path in (Path(folder) / "model").iterdir()}
    return _Prepared(token_ids, decoded(model, token_ids), record_trace(model, token_ids), files)


def small_model(make_policy: Callable[[], Any]) -> tuple[Tensor, Tensor, int, int]:
    """Decode a short text with a small model in memory, and from a disk under a policy.

    Returns the logits of both, and the experts found in memory: in the store, and in a simulation.
    """
    own = _prepared()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in own.files.items():
            (Path(folder) / name).write_bytes(content)
        with opened_within(folder, SMALL_BUDGET, make_policy()) as (opened, store):
            through = decoded(opened.model, own.token_ids)
            hits, sizes = store.counts.hits, store.sizes
    simulated = simulate(own.trace, make_policy(), SMALL_BUDGET, sizes)
    return own.logits, through, hits, int(simulated.hits.sum())


@torch.no_grad()
def decoded(model: Model, token_ids: Tensor) -> Tensor:
    """Read a text token by token, as it is decoded, and return the logits of each step."""
    cache = model.new_cache()
    return torch.cat([model(token[None, None], cache).logits[0] for token in token_ids])
