"""Models, texts and routes for measuring what a recording costs, in the shape of OLMoE."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.catalog import CATALOG
from moe_teach.config import ModelConfig, refuse
from moe_teach.data.batches import Batch

OLMOE = CATALOG["OLMoE-1B-7B"].config
_ROWS, _LENGTH = 16, 256  # of a batch of invented routes


def shape_of(d_model: int) -> ModelConfig:
    """Return OLMoE at another width: same layers, experts and choices, all widths in proportion.

    Raises:
        ValueError: the width does not split into its heads of 16 numbers or more.
    """
    d_head = d_model // 16
    refuse(
        d_model % 16 != 0 or d_head < 2 or d_head % 2 != 0,
        f"The width must be a multiple of 32, for 16 heads of an even size; it is {d_model}.",
    )
    return replace(
        OLMOE,
        d_model=d_model,
        attention=replace(OLMOE.attention, d_head=d_head),
        moe=replace(OLMOE.moe, d_ff=d_model // 2),
    )


def in_transformers(config: ModelConfig) -> nn.Module:
    """Return the model of transformers of the same shape, with random weights.

    Raises:
        ImportError: transformers is not installed.
    """
    try:
        from transformers import OlmoeConfig, OlmoeForCausalLM
    except ImportError as problem:
        raise ImportError(
            "Hooks are measured on a model of transformers, which is not installed: "
            "pip install transformers"
        ) from problem
    router = config.moe.router
    return OlmoeForCausalLM(
        OlmoeConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.moe.d_ff,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.attention.n_heads,
            num_key_value_heads=config.attention.n_kv_heads,
            num_experts=router.n_experts,
            num_experts_per_tok=router.top_k,
            norm_topk_prob=router.normalize_gates,
            use_cache=False,
        )
    ).eval()


def batches_of(config: ModelConfig, n_tokens: int, rows: int, length: int) -> list[Batch]:
    """Return random text of about so many tokens, at least one batch."""
    source = torch.Generator().manual_seed(0)
    made = []
    for _ in range(max(1, n_tokens // (rows * length))):
        ids = torch.randint(config.vocab_size, (rows, length), generator=source)
        made.append(Batch(ids, ids, torch.zeros(rows, dtype=torch.long)))
    return made


def invented(n_tokens: int) -> Iterator[RouteRecord]:
    """Give records of random routes, batch by batch, at least so many tokens in all."""
    source = torch.Generator().manual_seed(0)
    router, n_layers = OLMOE.moe.router, OLMOE.n_layers
    texts, places = (
        part.flatten()
        for part in torch.meshgrid(torch.arange(_ROWS), torch.arange(_LENGTH), indexing="ij")
    )
    for _ in range(-(-n_tokens // len(texts))):
        shape = (len(texts), n_layers, router.n_experts)
        best = torch.randn(shape, generator=source).softmax(-1).topk(router.top_k + 1)
        yield RouteRecord(
            token_ids=torch.randint(OLMOE.vocab_size, (len(texts),), generator=source),
            sequence_ids=texts,
            positions=places,
            domain_ids=torch.zeros_like(texts),
            domains=("text",),
            expert_ids=best.indices[..., :-1],
            gates=best.values[..., :-1],
            margins=best.values[..., -2] - best.values[..., -1],
            n_experts=router.n_experts,
            layers=tuple(f"layer {number}" for number in range(n_layers)),
        )
