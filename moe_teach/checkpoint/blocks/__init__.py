"""The MoE block of a published architecture is our layer: its rule and its tensors, both ways.

    config = transformers.AutoConfig.from_pretrained(folder)      # or the dictionary of config.json
    layer = MoE.build(d_model, moe_from(config))
    layer.load_state_dict(weights_from(block.state_dict(), config))

`moe_from` knows what a published configuration means for the router and the experts; the layouts
of whole models (`moe_teach.checkpoint.layouts`) say the same, which a test holds them to. Tensors
are named as transformers 5 names them in memory, from the block on; files name some of them
otherwise. Grok-1, which transformers does not have, has the names of its release.

In evaluation the outputs are equal and so are all gradients (`tests/checkpoint/test_blocks.py`). In
training, transformers' jitter also reaches what the experts read; ours reaches the router alone, as
published (Switch, arXiv 2101.03961, appendix C).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from moe_teach.checkpoint.blocks.families import FAMILIES, Family
from moe_teach.checkpoint.blocks.published import Published
from moe_teach.checkpoint.blocks.views import Piece
from moe_teach.config import MoEConfig, refuse

__all__ = ["FAMILIES", "moe_from", "weights_from", "weights_to"]


def moe_from(config: Any, layer: int = 0) -> MoEConfig:
    """Say as a configuration of ours what a published one means for its MoE layers.

    Args:
        config: transformers' configuration, or the dictionary in a config.json.
        layer: which layer of the model, where they differ (the hash layers of DeepSeek-V4).

    Raises:
        ValueError: for an architecture that is not known here, a value that is missing, or a rule
            that our layer cannot follow.
    """
    published = Published(config, layer)
    return _family_of(published).moe(published)


def weights_from(state: Mapping[str, Tensor], config: Any, layer: int = 0) -> dict[str, Tensor]:
    """Give the tensors of transformers' block by the names of our `MoE`: weights or gradients.

    A router without a selection bias gets one of zeros. Buffers have no gradient: hand them over
    as they are. Where it can be, a tensor is a view of theirs: load or clone it before it changes.

    Raises:
        ValueError: if a tensor is missing, or one is there that this layer does not have.
    """
    published = Published(config, layer)
    moe, pieces = _opened(published)
    _demand_names(state, {name for piece in pieces for name in _names(piece, moe)}, published)
    ours: dict[str, Tensor] = {}
    for piece in pieces:
        parts = [state[name] for name in _names(piece, moe)]
        theirs = torch.stack(parts) if "{e}" in piece.theirs else parts[0]
        ours.update(zip(piece.ours, piece.view.split(theirs, moe), strict=True))
    like = ours["router.proj.weight"]
    precise = torch.promote_types(like.dtype, torch.float32)
    ours.setdefault("router.expert_bias", like.new_zeros(len(like), dtype=precise))
    return ours


def weights_to(state: Mapping[str, Tensor], config: Any, layer: int = 0) -> dict[str, Tensor]:
    """Give the tensors of our `MoE` by the names of transformers' block: weights or gradients.

    Raises:
        ValueError: if a tensor of the layer is missing.
    """
    published = Published(config, layer)
    moe, pieces = _opened(published)
    missing = {name for piece in pieces for name in piece.ours} - state.keys()
    refuse(
        bool(missing),
        f"Our layer has no tensor {', '.join(sorted(missing))}: build it from "
        f"moe_from(config), which describes a layer of {published.model_type}.",
    )
    theirs: dict[str, Tensor] = {}
    for piece in pieces:
        joined = piece.view.join([state[name] for name in piece.ours], moe)
        names = _names(piece, moe)
        parts = joined.unbind() if "{e}" in piece.theirs else [joined]
        theirs.update(zip(names, parts, strict=True))
    return theirs


def _family_of(published: Published) -> Family:
    refuse(
        published.model_type not in FAMILIES,
        f"The block of {published.model_type!r} is not described here. Known are: "
        f"{', '.join(FAMILIES)}.",
    )
    return FAMILIES[published.model_type]


def _opened(published: Published) -> tuple[MoEConfig, list[Piece]]:
    family = _family_of(published)
    moe = family.moe(published)
    return moe, [piece for piece in family.pieces if piece.when(moe)]


def _names(piece: Piece, moe: MoEConfig) -> list[str]:
    if "{e}" not in piece.theirs:
        return [piece.theirs]
    return [piece.theirs.format(e=expert) for expert in range(moe.router.n_experts)]


def _demand_names(state: Mapping[str, Tensor], names: set[str], published: Published) -> None:
    missing, unknown = names - state.keys(), state.keys() - names
    what = f"The block of a {published.model_type} layer"
    refuse(
        bool(missing),
        f"{what} needs the tensors {', '.join(sorted(missing))}, which are not among those given: "
        "hand over block.state_dict(), with names from the block on.",
    )
    refuse(
        bool(unknown),
        f"{what} has no tensors {', '.join(sorted(unknown))}: hand over those of one block only.",
    )
