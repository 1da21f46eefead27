"""The text among other texts: what a capacity would turn away, and what that would change."""

import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.analysis.audit.report import Crowd
from moe_teach.analysis.audit.subjects import Subject
from moe_teach.analysis.interventions.neighbours import neighbour_effect

FACTORS = (1.0, 1.25, 2.0)
MOST_TEXTS = 8  # and as many neighbours


def crowds(subject: Subject, inputs: Int[Tensor, "windows S"]) -> tuple[tuple[Crowd, ...], str]:
    """Put the first half of the windows behind the second half, then behind two other crowds.

    The other texts are the neighbours' own tokens in another order; the flood is the text's most
    frequent token over and over. First as the model is, then under capacities; where none can be
    put on it, the reason is returned beside the first.
    """
    half = min(MOST_TEXTS, max(1, len(inputs) // 2))
    texts, beside = inputs[:half], inputs[half : 2 * half]
    if not len(beside):  # a single window: its own tokens, mixed, stand beside it
        beside = _mixed(texts, 1)
    rows = texts, beside, _mixed(beside, 0), torch.full_like(beside, frequent(inputs))
    found = [_crowd(subject, None, *rows)]
    try:
        for factor in FACTORS:
            with subject.with_capacity(factor) as limited:
                found.append(_crowd(limited, factor, *rows))
    except ValueError as reason:
        return tuple(found), str(reason)
    return tuple(found), ""


def frequent(inputs: Int[Tensor, "windows S"]) -> int:
    """Return the most frequent token id."""
    return int(torch.bincount(inputs.flatten()).argmax())


def _crowd(
    subject: Subject,
    factor: float | None,
    texts: Tensor,
    beside: Tensor,
    others: Tensor,
    flood: Tensor,
) -> Crowd:
    by_others, by_flood = (
        neighbour_effect(subject.answering, texts, beside, new) for new in (others, flood)
    )
    return Crowd(
        factor,
        *(round(subject.dropped(texts, crowd), 5) for crowd in (beside, flood)),
        *(round(effect.changed_share, 5) for effect in (by_others, by_flood)),
    )


def _mixed(rows: Tensor, seed: int) -> Tensor:
    order = torch.randperm(rows.numel(), generator=torch.Generator().manual_seed(seed))
    return rows.flatten()[order].view_as(rows)
