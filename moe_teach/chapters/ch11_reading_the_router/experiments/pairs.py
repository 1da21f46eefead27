"""Chapter 11: texts that differ in one word, and how far their paths part."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.chapters.ch11_reading_the_router.path_divergence import divergence
from moe_teach.nn.model import Model

TEMPLATES = (
    "Return what {} function was called with.",
    "If {} value is given, it is used instead of the default.",
    "The list of {} names is sorted before it is returned.",
    "Raise an error when {} file cannot be opened.",
    "A module that {} program can import at any time.",
    "The method reads {} first line of the text.",
    "It is not safe to change {} object while it is in use.",
    "Each item of {} sequence is passed to the function.",
)
ASKED = (("his", "her"),)
CONTROL = (("any", "old"), ("new", "two"), ("the", "one"), ("our", "big"), ("red", "low"))
"""Words of one length, so that places stay places; the control has nothing to do with anybody."""


@torch.no_grad()
def _path(model: Model, token_ids: Int[Tensor, " T"]) -> Int[Tensor, "T L K"]:
    return torch.stack([r.expert_ids for r in model(token_ids[None]).routings], dim=1)


def parted(model: Model, pairs: Sequence[tuple[str, str]]) -> Float[Tensor, "P L"]:
    """Return how far the paths part after a changed word, the mean over the templates."""
    found = []
    for pair in pairs:
        own = []
        for template in TEMPLATES:
            texts = [torch.tensor(list(template.format(word).encode())) for word in pair]
            paths = [_path(model, text) for text in texts]
            own.append(divergence(*paths, *texts))
        found.append(torch.stack(own).mean(dim=0))
    return torch.stack(found)
