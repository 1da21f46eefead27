"""Which weights of a model are written in how many bits: a plan, and the model that follows it."""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.ops.quantise import KINDS, Kind, dequantise, kind_named, quantise

MATRICES = ("w_gate", "w_up", "w_down")
"""The matrices of an expert; only SwiGLU has the first."""
Plan = Mapping[str, tuple[Kind, ...]]
"""For a parameter's name, its kind; or one kind for each expert. What is not named is kept."""


def expert_plan(
    model: Model,
    kind: Kind | str,
    *,
    matrices: Collection[str] = MATRICES,
    layers: Collection[int] | None = None,
    chosen: Sequence[Collection[int]] | None = None,
    others: Kind | str = "F32",
) -> Plan:
    """Plan to write routed experts in a kind.

    Args:
        model: whose experts.
        kind: in which they are written.
        matrices: which of their matrices; the rest is written as `others`.
        layers: which MoE layers, counted among themselves from 0; by default all. The rest is
            written as `others`.
        chosen: for each MoE layer, the experts that are written in `kind`; the rest is written as
            `others`. By default all.
        others: the kind of the rest.

    Raises:
        ValueError: a layer, expert or matrix that is not there.
    """
    kind, others = kind_named(kind), kind_named(others)
    found = list(moe_layers(model))
    _demand(model, found, matrices, layers, chosen)
    plan = {}
    for place, (prefix, ffn) in enumerate(found):
        for name, parameter in ffn.experts.named_parameters():
            here = name in matrices and (layers is None or place in layers)
            ids = range(len(parameter)) if chosen is None else chosen[place]
            plan[f"{prefix}.experts.{name}"] = tuple(
                kind if here and expert in ids else others for expert in range(len(parameter))
            )
    return plan


def part_plan(model: Model, part: str, kind: Kind | str) -> Plan:
    """Plan to write one part of a model in a kind: "router", "shared", "attention", "embedding".

    Norms and biases have too few weights to be worth a word, and no file rounds them.

    Raises:
        ValueError: an unknown part, or one that this model does not have.
    """
    refuse(
        part not in _PARTS,
        f"{part!r} is no part of a model here: choose one of {', '.join(_PARTS)}.",
    )
    kind = kind_named(kind)
    names = [
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() == 2 and any(mark in name for mark in _PARTS[part])
    ]
    refuse(not names, f"This model has no {part} to be rounded.")
    return dict.fromkeys(names, (kind,))


def rounded(model: Model, plan: Plan) -> Model:
    """Return a copy of the model whose planned weights are what their codes stand for.

    It computes in the model's own dtype: what few bits cost in accuracy shows, not what they save.

    Raises:
        ValueError: a parameter of the plan is not in the model; or as in `quantise`.
    """
    parameters = dict(model.named_parameters())
    unknown = sorted(set(plan) - set(parameters))
    refuse(bool(unknown), f"The plan names {', '.join(unknown)}, which this model does not have.")
    small = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if name in plan:
                parameter.copy_(_rounded(parameter, plan[name]))
    return small


def n_bytes(model: Model, plan: Plan) -> int:
    """Count what the parameters take when they are written by the plan, the rest in float32."""
    return sum(
        kind.n_bytes(parameter.numel() // len(kinds))
        for name, parameter in model.named_parameters()
        for kinds in [plan.get(name, (KINDS["F32"],))]
        for kind in kinds
    )


def rounded_part(model: Model, plan: Plan) -> tuple[int, int]:
    """Count the weights that the plan rounds, and the bytes they take then."""
    shares = [
        (parameter.numel() // len(plan[name]), kind)
        for name, parameter in model.named_parameters()
        for kind in plan.get(name, ())
        if kind.name != "F32"
    ]
    return sum(n for n, _ in shares), sum(kind.n_bytes(n) for n, kind in shares)


def expert_errors(weights: Float[Tensor, "E F D"], kind: Kind | str) -> Float[Tensor, " E"]:
    """Return how far each expert's weights move: |rounded - weights| / |weights|, per expert.

    An expert of zeros does not move.
    """
    exact = weights.detach().float()
    moved = (dequantise(quantise(weights, kind)) - exact).flatten(1).norm(dim=1)
    return moved / exact.flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)


def moe_layers(model: Model) -> Iterator[tuple[str, MoE]]:
    """Give the MoE layers from bottom to top, with their names."""
    for name, module in model.named_modules():
        if isinstance(module, MoE):
            yield name, module


_PARTS = {
    "router": (".router.",),
    "shared": (".shared_expert.",),
    "attention": (".attention.",),
    "embedding": ("embedding.",),
}


def _rounded(parameter: Tensor, kinds: tuple[Kind, ...]) -> Tensor:
    if len(set(kinds)) == 1:
        return dequantise(quantise(parameter, kinds[0]))
    experts = zip(parameter, kinds, strict=True)
    return torch.stack([dequantise(quantise(expert, kind)) for expert, kind in experts])


def _demand(
    model: Model,
    found: list[tuple[str, MoE]],
    matrices: Collection[str],
    layers: Collection[int] | None,
    chosen: Sequence[Collection[int]] | None,
) -> None:
    refuse(not found, "This model has no experts: give it a configuration with moe.")
    strange = sorted(set(matrices) - set(MATRICES))
    refuse(bool(strange), f"An expert has the matrices {MATRICES}, and no {strange}.")
    outside = sorted(set(layers or ()) - set(range(len(found))))
    refuse(
        bool(outside),
        f"The model has {len(found)} MoE layers, counted from 0: there is no {outside}.",
    )
    refuse(
        chosen is not None and len(chosen) != len(found),
        f"chosen names experts for {len(chosen or ())} layers, but {len(found)} have experts.",
    )
    for place, ids in enumerate(chosen or ()):
        n_experts = found[place][1].experts.w_up.shape[0]
        refuse(
            not set(ids) <= set(range(n_experts)),
            f"MoE layer {place} has the experts 0 to {n_experts - 1}, but {sorted(ids)} are asked.",
        )
