"""Branches of one dense seed, trained apart on their domains, become experts of one model.

Branch-Train-MiX (Sukhbaatar et al. 2024, arXiv 2403.07816): the branches' feed-forwards become
experts, a router is drawn, and everything else is the mean of the branches. FlexOlmo (Shi et al.
2025, arXiv 2507.07024) lets only the feed-forwards branch: the trunk is the seed's, frozen, and
stays one trunk for all.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from moe_teach.compose.upcycle import upcycle
from moe_teach.config import refuse
from moe_teach.nn.model import Model

Trunk = Literal["average", "frozen"]


@torch.no_grad()
def merge_branches(
    branches: Sequence[Model], *, trunk: Trunk, top_k: int = 2, seed: int = 0
) -> Model:
    """Return an MoE whose expert e is the feed-forward of branch e, in every layer.

    The router is new and knows nothing: train it (`router_only` in `moe_teach.compose.trainable`).

    Args:
        branches: dense models of one configuration. They stay as they are.
        trunk: "average" takes the mean of all that is no feed-forward; "frozen" demands that it
            is the same in all of them, bit for bit, and takes it.
        top_k: experts of a token; their gates sum to 1.
        seed: of the router.

    Raises:
        ValueError: fewer than two branches, different configurations, or trunks that differ where
            they must not.
    """
    refuse(trunk not in ("average", "frozen"), f"trunk is 'average' or 'frozen', not {trunk!r}.")
    refuse(len(branches) < 2, "A merge needs two branches or more.")
    first = branches[0]
    refuse(
        any(branch.config != first.config for branch in branches),
        "The branches' configurations differ: all must come from one seed.",
    )
    model = upcycle(first, len(branches), top_k, seed=seed)
    states = [branch.state_dict() for branch in branches]
    shared = [name for name in states[0] if ".ffn." not in name]
    if trunk == "frozen":
        _demand_one_trunk(states, shared)
    else:
        mean = {name: _mean([state[name] for state in states]) for name in shared}
        model.load_state_dict(mean, strict=False)
    for layer, block in enumerate(model.blocks):
        for expert, branch in enumerate(branches):
            for name, experts in block.ffn.experts.named_parameters():
                experts[expert] = branch.blocks[layer].ffn.get_parameter(f"{name}.weight")
    return model


@torch.no_grad()
def average(models: Sequence[Model]) -> Model:
    """Return the model whose every number is the mean of the given models' numbers.

    The dense baseline of every merge (model soups, Wortsman et al. 2022, arXiv 2203.05482).

    Raises:
        ValueError: no model, or models of different configurations.
    """
    refuse(not models, "There is no model to average.")
    refuse(
        any(model.config != models[0].config for model in models),
        "The models' configurations differ: their numbers do not belong together.",
    )
    with torch.random.fork_rng(devices=[]):
        mean = Model(replace(models[0].config))
    states = [model.state_dict() for model in models]
    mean.to(next(models[0].parameters()).dtype)
    mean.load_state_dict({name: _mean([state[name] for state in states]) for name in states[0]})
    return mean.train(models[0].training)


def _mean(tensors: list[Tensor]) -> Tensor:
    """Average in float64, so that equal tensors have themselves as their mean, bit for bit."""
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)


def _demand_one_trunk(states: list[dict[str, Tensor]], shared: list[str]) -> None:
    for name in shared:
        refuse(
            any(not torch.equal(state[name], states[0][name]) for state in states[1:]),
            f"{name} differs between the branches, so their training moved the trunk: train "
            "feed-forwards alone, or merge with trunk='average'.",
        )
