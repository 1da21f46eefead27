"""The text among other texts: what a capacity would turn away, and what that would change."""

import torch
from jaxtyping import Int
from torch import Tensor, nn

from moe_teach.analysis.audit.report import Crowd
from moe_teach.analysis.interventions.capacity import drop_share_by_group, with_capacity
from moe_teach.analysis.interventions.neighbours import neighbour_effect
from moe_teach.analysis.routes.recorder import record_routes
from moe_teach.data.batches import Batch

FACTORS = (1.0, 1.25, 2.0)
MOST_TEXTS = 8  # and as many neighbours


def crowds(model: nn.Module, inputs: Int[Tensor, "windows S"]) -> tuple[Crowd, ...]:
    """Put the first half of the windows behind the second half, then behind two other crowds.

    The other texts are the neighbours' own tokens in another order; the flood is the text's most
    frequent token over and over. First as the model is, then under capacities.
    """
    half = min(MOST_TEXTS, max(1, len(inputs) // 2))
    texts, beside = inputs[:half], inputs[half : 2 * half]
    if not len(beside):  # a single window: its own tokens, mixed, stand beside it
        beside = _mixed(texts, 1)
    others, flood = _mixed(beside, 0), torch.full_like(beside, frequent(inputs))
    return (
        _crowd(model, None, texts, beside, others, flood),
        *(
            _crowd(with_capacity(model, factor), factor, texts, beside, others, flood)
            for factor in FACTORS
        ),
    )


def frequent(inputs: Int[Tensor, "windows S"]) -> int:
    """Return the most frequent token id."""
    return int(torch.bincount(inputs.flatten()).argmax())


def _crowd(
    model: nn.Module,
    factor: float | None,
    texts: Tensor,
    beside: Tensor,
    others: Tensor,
    flood: Tensor,
) -> Crowd:
    by_others, by_flood = (neighbour_effect(model, texts, beside, new) for new in (others, flood))
    return Crowd(
        factor,
        *(round(_dropped(model, texts, crowd), 5) for crowd in (beside, flood)),
        *(round(effect.changed_share, 5) for effect in (by_others, by_flood)),
    )


def _dropped(model: nn.Module, texts: Tensor, beside: Tensor) -> float:
    rows = torch.cat([beside, texts])
    is_text = (torch.arange(len(rows)) >= len(beside)).long()
    record = record_routes(model, [Batch(rows, rows, is_text)], ("beside", "text"))
    return float(drop_share_by_group(record).overall[1])


def _mixed(rows: Tensor, seed: int) -> Tensor:
    order = torch.randperm(rows.numel(), generator=torch.Generator().manual_seed(seed))
    return rows.flatten()[order].view_as(rows)
