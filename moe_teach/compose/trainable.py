"""Training parts of a model while the rest stays what it is, bit for bit.

A gradient of zero is not enough for that: AdamW decays what has no gradient, and its momentum
moves what had one before. So what shall stay is no parameter while the block lasts. Whole tensors
are switched off; of the fused experts, the trained rows become a parameter of their own, and the
optimiser never sees the others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from moe_teach.compose.slots import demand_numbers, moe_of
from moe_teach.config import refuse
from moe_teach.nn.model import Model


@contextmanager
def training_only(model: nn.Module, wanted: Callable[[str], bool]) -> Iterator[list[str]]:
    """Let only some parameters be trained while the block lasts; give their names.

    Args:
        model: whose parameters they are; afterwards each is as trainable as it was before.
        wanted: says of a parameter's name whether it is to be trained.

    Raises:
        ValueError: no parameter is wanted.
    """
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    names = [name for name in before if wanted(name)]
    refuse(not names, "Nothing would be trained: no parameter of this model is wanted.")
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        yield names
    finally:
        for name, parameter in model.named_parameters():
            if name in before:
                parameter.requires_grad_(before[name])


def is_router(name: str) -> bool:
    """Say whether a parameter belongs to a router: what `training_only` needs to tune routing."""
    return ".router." in name


def is_expert(name: str) -> bool:
    """Say whether a parameter belongs to the routed experts of a layer."""
    return ".experts." in name


def is_feed_forward(name: str) -> bool:
    """Say whether a parameter belongs to a feed-forward, dense or of experts, routers left out."""
    return ".ffn." in name and not is_router(name)


@contextmanager
def training_experts(
    model: Model, experts: Mapping[int, Sequence[int]], *, router_rows: bool = False
) -> Iterator[int]:
    """Let only some experts be trained while the block lasts; give how many numbers that is.

    Expert-specialised fine-tuning (ESFT, arXiv 2407.01906) is this with the experts that
    `moe_teach.compose.relevance` finds. Make the optimiser, and save, inside the block or outside
    it, not across its edge: inside, the experts' tensors have other names.

    Args:
        model: of the library's parts.
        experts: layer -> the experts in it that are trained.
        router_rows: train the router's rows for them as well.

    Raises:
        ValueError: there is no such layer or expert, one is named twice, or none is named.
    """
    rows = demand_experts(model, experts)
    with ExitStack() as undone:
        undone.enter_context(_nothing_trained(model))
        for layer, ids in rows.items():
            moe = moe_of(model, layer)
            parts = [(moe.experts, name) for name, _ in moe.experts.named_parameters(recurse=False)]
            if router_rows:
                parts += [(moe.router.proj, name) for name, _ in moe.router.proj.named_parameters()]
            for part, name in parts:
                undone.enter_context(_rows_only(part, name, ids))
        yield sum(p.numel() for p in model.parameters() if p.requires_grad)


def demand_experts(
    model: Model, experts: Mapping[int, Sequence[int]]
) -> dict[int, Int[Tensor, " n"]]:
    """Return the named experts of each layer in order; layers of which none is named are left out.

    Raises:
        ValueError: there is no such layer or expert, one is named twice, or none is named.
    """
    places = {layer: list(ids) for layer, ids in experts.items() if len(ids)}
    refuse(not places, "Nothing would be trained: name at least one expert.")
    for layer, ids in places.items():
        demand_numbers(model, layer, ids)
    return {layer: torch.tensor(sorted(ids)) for layer, ids in places.items()}


@contextmanager
def _nothing_trained(model: nn.Module) -> Iterator[None]:
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        model.requires_grad_(False)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])


class _Rows(nn.Module):
    """A tensor of which only some rows are a parameter; the others are a buffer."""

    def __init__(self, whole: Tensor, ids: Int[Tensor, " n"]) -> None:
        super().__init__()
        self.register_buffer("whole", whole.detach().clone())
        self.register_buffer("ids", ids.to(whole.device))

    def forward(self, rows: Float[Tensor, "n ..."]) -> Float[Tensor, "E ..."]:
        return self.whole.index_copy(0, self.ids, rows)

    def right_inverse(self, whole: Float[Tensor, "E ..."]) -> Float[Tensor, "n ..."]:
        return whole[self.ids].clone()


@contextmanager
def _rows_only(part: nn.Module, name: str, ids: Int[Tensor, " n"]) -> Iterator[None]:
    part.get_parameter(name).requires_grad_(True)
    order = list(part._parameters)
    # The shape of the parameter changes, which torch would check against.
    parametrize.register_parametrization(
        part, name, _Rows(part.get_parameter(name), ids), unsafe=True
    )
    try:
        yield
    finally:
        parametrize.remove_parametrizations(part, name, leave_parametrized=True)
        in_old_order(part, order)


def in_old_order(part: nn.Module, order: Sequence[str]) -> None:
    """Put a module's parameters back in an order: an optimiser knows them by their number."""
    for known in order:
        part._parameters[known] = part._parameters.pop(known)
