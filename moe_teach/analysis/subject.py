"""What the laws may know about the layer under test.

Any callable `layer(x) -> (y, Routing)` can be tested, and one that returns y alone by the laws
that need no more. Some laws need more than the forward pass:
what one expert answers alone, or which tensors have one row per expert. `Subject.of` finds these
in layers shaped like `moe_teach.nn.moe.MoE`; for others they can be passed by name.
"""

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from moe_teach.config import RouterConfig, refuse
from moe_teach.ops.losses import load_balance_loss
from moe_teach.seeding import seeded
from moe_teach.types import Routing

Layer = Callable[[Tensor], tuple[Tensor, Routing | None] | Tensor]


class NotTold(Exception):
    """The layer does not tell what a law needs to know; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A layer, and what is known about it beyond its forward pass.

    Attributes:
        layer: x (T, D) -> (y (T, D), Routing), or y alone.
        d_model: width of x.
        seed: where the random inputs of the laws start.
        gate_sum: what the gates of a token sum to, or None where they need not sum to anything.
        group_size: experts may trade places within groups of this size; None: all of them.
        expert: (expert id, rows (n, D)) -> rows, what one expert answers alone.
        shared_expert: x -> y, the part of the output that is always on.
        with_top_k: k -> the same layer with k experts per token and no capacity.
        expert_rows: tensors whose first axis counts the experts, router rows included.
        expert_list: the experts, where they are one module each.
        expert_bias: the (E,) tensor that steers the choice.
        balance_loss: Routing -> scalar.
    """

    layer: Layer
    d_model: int
    seed: int = 0
    gate_sum: float | None = 1.0
    group_size: int | None = None
    expert: Callable[[int, Tensor], Tensor] | None = None
    shared_expert: Callable[[Tensor], Tensor] | None = None
    with_top_k: Callable[[int], Layer] | None = None
    expert_rows: tuple[Tensor, ...] | None = None
    expert_list: nn.ModuleList | None = None
    expert_bias: Tensor | None = None
    balance_loss: Callable[[Routing], Tensor] = load_balance_loss

    @classmethod
    def of(cls, layer: Layer, *, d_model: int, **known: object) -> "Subject":
        """Collect what the layer tells about itself; what is passed by name goes first."""
        names = {field.name for field in fields(cls)}
        unknown = sorted(set(known) - names)
        refuse(bool(unknown), f"The laws do not know {unknown}; they can use {sorted(names)}.")
        return cls(layer=layer, d_model=d_model, **{**_told_by(layer), **known})

    def __call__(self, x: Tensor) -> tuple[Tensor, Routing]:
        """Run the layer with the same luck every time, so that laws may compare two runs.

        Raises:
            NotTold: if there is no record of who was chosen.
        """
        with seeded(self.seed, device=x.device):
            return told(self.layer(x))

    def answer(self, x: Tensor) -> tuple[Tensor, Routing | None]:
        """Run the layer in the same way, whether or not it tells who was chosen."""
        with seeded(self.seed, device=x.device):
            return both(self.layer(x))

    def tokens(self, n_tokens: int = 24) -> Tensor:
        """Draw tokens of which the first half are copies of one: a crowd at few experts.

        Without the crowd a capacity might never be reached, and its effects never be seen.
        """
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.randn(n_tokens, self.d_model, generator=generator)
        x[: n_tokens // 2] = x[:1].clone()
        parameter = next(_tensors(self.layer), x)
        return x.to(device=parameter.device, dtype=parameter.dtype)

    def permutation(self, n_experts: int) -> Tensor:
        """Draw a new order of the experts in which groups stay together."""
        generator = torch.Generator().manual_seed(self.seed)
        size = self.group_size or n_experts
        groups = torch.arange(n_experts).view(-1, size)
        groups = groups[torch.randperm(len(groups), generator=generator)]
        return torch.cat([group[torch.randperm(size, generator=generator)] for group in groups])

    @contextmanager
    def permuted(self, order: Tensor) -> Iterator[None]:
        """Renumber the experts for a while: expert `order[e]` takes the number e."""
        self._renumber(order)
        try:
            yield
        finally:
            self._renumber(order.argsort())

    @torch.no_grad()
    def _renumber(self, order: Tensor) -> None:
        for tensor in self.expert_rows or ():
            tensor.copy_(tensor[order.to(tensor.device)])
        if self.expert_list is not None:
            modules = list(self.expert_list)
            for place, expert in enumerate(order.tolist()):
                self.expert_list[place] = modules[expert]


def _told_by(layer: Layer) -> dict[str, object]:
    """Read a layer that has `router` and `experts`; anything else tells nothing."""
    router, experts = getattr(layer, "router", None), getattr(layer, "experts", None)
    if not isinstance(router, nn.Module) or not isinstance(experts, nn.Module):
        return {}
    is_list = isinstance(experts, nn.ModuleList)
    told: dict[str, object] = {
        "expert": _expert_alone(layer, experts),
        "shared_expert": getattr(layer, "shared_expert", None),
        "expert_bias": getattr(router, "expert_bias", None),
        "expert_list": experts if is_list else None,
        "expert_rows": _expert_rows(router, None if is_list else experts),
    }
    if getattr(layer, "n_identity_experts", 0):  # who gives back has a number, and no row to move
        told["expert_rows"] = None
    config = getattr(router, "config", None)
    if isinstance(config, RouterConfig):
        is_sum = config.norm_order == 1 and config.norm_floor == 0
        sums_up = config.topk_first or (config.normalize_gates and is_sum)
        told["gate_sum"] = config.gate_scale if sums_up else None
        told["group_size"] = config.n_experts // config.n_groups
        told["with_top_k"] = lambda top_k: _with_top_k(layer, config, top_k)
    return told


def _expert_alone(layer: Layer, experts: nn.Module) -> Callable[[int, Tensor], Tensor] | None:
    if getattr(layer, "gates_on", "output") == "input":
        return None  # what an expert answers is not multiplied by its gate
    answer = _from_list(experts) if isinstance(experts, nn.ModuleList) else _from_slices(experts)
    n_identity = getattr(layer, "n_identity_experts", 0)
    if answer is None or not n_identity:
        return answer
    n_computing = layer.router.config.n_experts - n_identity
    return lambda expert, rows: rows if expert >= n_computing else answer(expert, rows)


def _from_list(experts: nn.ModuleList) -> Callable[[int, Tensor], Tensor]:
    return lambda expert, rows: experts[expert](rows)


def _from_slices(experts: nn.Module) -> Callable[[int, Tensor], Tensor] | None:
    """Ask fused experts for the answer of one, by giving all rows to that one."""
    if "expert_offsets" not in inspect.signature(experts.forward).parameters:
        return None

    def answer(expert: int, rows: Tensor) -> Tensor:
        n_experts = next(experts.parameters()).shape[0]
        offsets = torch.zeros(n_experts, dtype=torch.int32, device=rows.device)
        offsets[expert:] = len(rows)
        return experts(rows, offsets)

    return answer


def _expert_rows(router: nn.Module, fused: nn.Module | None) -> tuple[Tensor, ...] | None:
    """Find the tensors whose first axis counts experts; the router's width says how many."""
    proj = getattr(router, "proj", None)
    if not isinstance(proj, nn.Linear):
        return None
    found = [*_tensors(router), *(_tensors(fused) if fused is not None else ())]
    return tuple(t for t in found if t.dim() and t.shape[0] == proj.out_features)


def _with_top_k(layer: nn.Module, config: RouterConfig, top_k: int) -> Layer:
    twin = copy.deepcopy(layer)
    freely = {"n_groups": 1, "top_groups": 1, "choice": "token", "table_size": None}
    twin.router.config = replace(config, top_k=top_k, **freely)
    twin.capacity_factor = twin.capacity = None
    return twin


def both(returned: object) -> tuple[Tensor, Routing | None]:
    """Give y and the record that a layer returned, which may be y alone."""
    return (returned, None) if isinstance(returned, Tensor) else tuple(returned)


def told(returned: object) -> tuple[Tensor, Routing]:
    """Give y and the record, and refuse a layer that returned no record."""
    y, routing = both(returned)
    if routing is None:
        raise NotTold("needs to be told who was chosen: let the layer return (y, Routing)")
    return y, routing


def _tensors(layer: object) -> Iterator[Tensor]:
    if isinstance(layer, nn.Module):
        yield from layer.parameters()
        yield from layer.buffers()
