"""Whom few bits hurt: one part of a model is rounded, everything else stays exact."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moe_teach.config import refuse
from moe_teach.data.batches import Batch
from moe_teach.deploy.quantise.divergence import (
    Divergence,
    Reference,
    diverge,
    hot_and_cold,
    reference,
)
from moe_teach.deploy.quantise.plans import (
    MATRICES,
    Plan,
    expert_plan,
    moe_layers,
    part_plan,
    rounded,
    rounded_part,
)
from moe_teach.nn.model import Model


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What became of the answers when one part was written in one kind.

    `n_weights` is the size of the part, `n_bytes` what it takes when it is rounded.
    """

    part: str
    kind: str
    n_weights: int
    n_bytes: int
    divergence: Divergence

    @property
    def kl_per_weight(self) -> float:
        """The divergence for a million rounded weights: parts of different size compared."""
        return float(self.divergence.kl.mean()) / self.n_weights * 1e6


def sensitivity(
    model: Model,
    batches: Iterable[Batch] | Reference,
    kinds: Sequence[str] = ("Q8_0", "Q4_0"),
    parts: Sequence[str] | None = None,
) -> list[Sensitivity]:
    """Round one part after another, and measure what each alone does to the answers.

    Args:
        model: the original; it is left as it is.
        batches: text to compare on, or what `reference` made of it.
        kinds: of `moe_teach.ops.quantise.KINDS`.
        parts: of `part_names(model)`; by default all.

    Raises:
        ValueError: an unknown part or kind, or no text.
    """
    original = batches if isinstance(batches, Reference) else reference(model, batches)
    found = []
    for part in part_names(model) if parts is None else parts:
        for kind in kinds:
            plan = plan_of(model, part, kind, original)
            n_weights, n_bytes = rounded_part(model, plan)
            divergence = diverge(rounded(model, plan), original)
            found.append(Sensitivity(part, kind, n_weights, n_bytes, divergence))
    return found


def part_names(model: Model) -> list[str]:
    """Return the parts of a model that can be rounded alone, experts in several cuts."""
    layers = [ffn for _, ffn in moe_layers(model)]
    refuse(not layers, "This model has no experts: there is nothing to compare.")
    has_shared = any(ffn.shared_expert is not None for ffn in layers)
    matrices = [name for name, _ in layers[0].experts.named_parameters()]
    return [
        "router",
        *(["shared"] if has_shared else []),
        "attention",
        "embedding",
        "experts",
        "hot half",
        "cold half",
        *(name for name in MATRICES if name in matrices),
        *(f"layer {place}" for place in range(len(layers))),
    ]


def plan_of(model: Model, part: str, kind: str, original: Reference) -> Plan:
    """Plan to round one part and nothing else; `original` knows which experts are hot.

    Raises:
        ValueError: there is no such part.
    """
    names = part_names(model)
    refuse(part not in names, f"{part!r} is no part of this model: choose of {', '.join(names)}.")
    if part in ("hot half", "cold half"):
        hot, cold = hot_and_cold(original.counts, original.counts.shape[-1] // 2)
        return expert_plan(model, kind, chosen=hot if part == "hot half" else cold)
    if part in MATRICES:
        return expert_plan(model, kind, matrices=[part])
    if part.startswith("layer "):
        return expert_plan(model, kind, layers=[int(part.removeprefix("layer "))])
    return expert_plan(model, kind) if part == "experts" else part_plan(model, part, kind)
