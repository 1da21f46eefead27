"""What a model answers to texts, token by token, so that two answers can be compared."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.moe import MoE


@dataclass(frozen=True, eq=False)
class Answers:
    """One line for each token that was asked for: its loss in nats, the likeliest next token.

    `sequence_ids` counts the rows of all batches, `domain_ids` is theirs.
    """

    losses: Float[Tensor, " T"]
    predicted: Int[Tensor, " T"]
    sequence_ids: Int[Tensor, " T"]
    domain_ids: Int[Tensor, " T"]


@torch.no_grad()
def answers_of(model: nn.Module, batches: Iterable[Batch]) -> Answers:
    """Send texts through a model in evaluation mode, which is left as it was found.

    Raises:
        ValueError: no batch asks for a token.
    """
    device, parts, n_rows = next(model.parameters()).device, [], 0
    with in_evaluation(model):
        for batch in batches:
            here = batch.to(device)
            logits = here.through(model).logits.float()
            asked = here.targets != NO_TARGET
            losses = F.cross_entropy(logits[asked], here.targets[asked], reduction="none")
            rows = torch.nonzero(asked)[:, 0]
            domains = here.domain_ids[rows]
            parts.append((losses, logits[asked].argmax(-1), rows + n_rows, domains))
            n_rows += len(asked)
    refuse(not any(len(part[0]) for part in parts), "No batch asks for a token.")
    return Answers(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


def moe_layers(model: nn.Module) -> Sequence[MoE]:
    """Return the layers with experts, from bottom to top, as records of routes number them.

    Raises:
        ValueError: there is none.
    """
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    refuse(not layers, "This model has no layer with experts.")
    return layers
