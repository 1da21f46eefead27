"""The baseline of what a router is said to have learned: a router that has learned nothing."""

import copy

import torch

from moe_teach.analysis.interventions.answers import moe_layers
from moe_teach.nn.mode import AModel


def with_untrained_routers(model: AModel, seed: int = 0) -> AModel:
    """Return a copy whose routers are drawn anew, as before training; all else stays as it is.

    Tokens of one kind look alike to any router, also to a random one: what it tells about domains
    or tokens is not due to its training. (Above its first layer the model's own vectors change
    with the answers of other experts than they were trained with; that is part of the baseline.)

    Args:
        model: with layers of experts; it is not touched.
        seed: another seed, other routers.

    Raises:
        ValueError: there are no experts.
    """
    other = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in moe_layers(other):
            layer.router.reset_parameters()
    return other
