"""Routes of a model of transformers, by forward hooks on its routers.

    record = record_hf_routes(model, batches, domains)      # as `record_routes` of our models

Nothing of the model is changed, and transformers itself is not imported: which module is a router,
and by which rule it chooses, stands in `moe_teach.checkpoint.blocks`, for every architecture there.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from moe_teach.analysis.routes.record import RouteRecord, joined, weights_digest
from moe_teach.analysis.routes.recorder import LayerRoutes, assembled
from moe_teach.analysis.routes.router_answers import answers_in_three_parts, read_answer
from moe_teach.checkpoint.blocks import FAMILIES, moe_from
from moe_teach.config import MoEConfig, refuse
from moe_teach.data.batches import Batch, text_mask
from moe_teach.nn.mode import in_evaluation

_WEIGHT, _BIAS = ("router.proj.weight",), ("router.expert_bias",)


class WatchedBlock(NamedTuple):
    """One MoE block of a model, the router in it, and its rule."""

    name: str
    block: nn.Module
    router: nn.Module
    moe: MoEConfig
    model_type: str

    @property
    def number(self) -> int:
        """The number of its layer in the model; 0 where its name has none."""
        return _layer_of(self.name)

    @property
    def answers_in_three_parts(self) -> bool:
        """Whether its router answers logits, gates and expert ids, as most classes do."""
        return answers_in_three_parts(self.model_type)

    def bias(self) -> Tensor | None:
        """Return the selection bias (E,), where the block has one."""
        for piece in FAMILIES[self.model_type].pieces:
            if piece.ours == _BIAS and piece.when(self.moe):
                path, _, leaf = piece.theirs.rpartition(".")
                theirs = getattr(self.block.get_submodule(path), leaf)
                return piece.view.split(theirs, self.moe)[0].detach().float()
        return None

    def read(self, returned: Any) -> LayerRoutes:
        """Read what the router returned."""
        return read_answer(returned, self.model_type, self.moe.router, self.bias())


def blocks_of(model: nn.Module) -> list[WatchedBlock]:
    """Find the MoE blocks of a model of transformers, from bottom to top.

    Raises:
        ValueError: the architecture is not known here, or has no MoE block.
    """
    config: Any = model.config
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    model_type = config.model_type
    refuse(
        model_type not in FAMILIES,
        f"The routers of {model_type!r} are not known here. Known are: {', '.join(FAMILIES)}.",
    )
    pieces = FAMILIES[model_type].pieces
    weight = next(piece.theirs for piece in pieces if piece.ours == _WEIGHT)
    found = [
        WatchedBlock(
            name,
            block,
            block.get_submodule(weight.split(".")[0]),
            moe_from(config, _layer_of(name)),
            model_type,
        )
        for name, block in model.named_modules()
        if hasattr(block, "experts") and _has(block, weight)
    ]
    refuse(not found, "This model has no layer with experts, so there are no routes.")
    return found


@contextmanager
def watching_routers(model: nn.Module) -> Iterator[dict[str, LayerRoutes]]:
    """Watch every router of a model; the dictionary holds what each chose in the last pass.

    Its keys are the names of the MoE blocks. Rows stand for all positions of the batch, padding
    included, one sequence after the other.

    Raises:
        ValueError: as `blocks_of`.
    """
    seen: dict[str, LayerRoutes] = {}
    with ExitStack() as hooks:
        for watched in blocks_of(model):

            def look(router: nn.Module, _x: Any, output: Any, at: WatchedBlock = watched) -> None:
                with torch.no_grad():
                    seen[at.name] = at.read(output)

            hooks.callback(watched.router.register_forward_hook(look).remove)
        yield seen


def record_hf_routes(
    model: nn.Module, batches: Iterable[Batch], domains: Sequence[str] = ("text",)
) -> RouteRecord:
    """Send text through a model of transformers in evaluation mode and record every token's route.

    As `moe_teach.analysis.routes.recorder.record_routes` does for our models; padding, and
    positions that no target asks for, are left out. Layers are named as transformers names the
    blocks. The model without its head (`model.model`) has the same routes and costs less.

    Raises:
        ValueError: there is no batch, the architecture is not known here, or its layers do not all
            read the same tokens (hand over the encoder of an encoder-decoder).
    """
    return joined(list(hf_routes_by_batch(model, batches, domains)))


@torch.no_grad()
def hf_routes_by_batch(
    model: nn.Module, batches: Iterable[Batch], domains: Sequence[str] = ("text",)
) -> Iterator[RouteRecord]:
    """Give the record of each batch as it is made; arguments as `record_hf_routes`."""
    device, digest = next(model.parameters()).device, weights_digest(model)
    n_experts = blocks_of(model)[0].moe.router.n_experts
    for batch in batches:
        here = batch.to(device)
        with in_evaluation(model), watching_routers(model) as seen:
            model(here.inputs, **_told_of_padding(model, here.real))
        text = text_mask(here.targets, here.real).flatten()
        refuse(
            any(len(route.expert_ids) != len(text) for route in seen.values()),
            "The layers of this model do not all read these tokens, one row each: of a model with "
            "an encoder and a decoder, hand over model.encoder.",
        )
        routes = [_only(route, text) for route in seen.values()]
        yield assembled(here, routes, tuple(domains), n_experts, tuple(seen), digest)


def _told_of_padding(model: nn.Module, real: Bool[Tensor, "B S"] | None) -> dict[str, Tensor]:
    if real is None:
        return {}
    told = {"attention_mask": real.long()}
    if "position_ids" in inspect.signature(model.forward).parameters:
        told["position_ids"] = (real.cumsum(-1) - 1).clamp_min(0)  # text counts as if alone
    return told


def _only(route: LayerRoutes, text: Bool[Tensor, " T"]) -> LayerRoutes:
    return LayerRoutes(*(None if part is None else part[text] for part in route))


def _has(block: nn.Module, parameter: str) -> bool:
    try:
        block.get_parameter(parameter)
    except AttributeError:
        return False
    return True


def _layer_of(name: str) -> int:
    """Read the number of a layer in the name of its block; 0 where there is none."""
    number = re.search(r"\d+", name)
    return int(number.group()) if number else 0
