"""Exercise 8.3: records of what small models do, with a fault in a place of one's choice."""

from typing import NamedTuple

import torch
from torch import Tensor

from moe_teach.judging.exercise import generator

NAMES = ("x", "logits", "expert_ids", "gates", "answers", "y")
Record = dict[str, Tensor]
Model = list[Record]
N_TOKENS, WIDTH, N_EXPERTS = 7, 6, 9


class Small(NamedTuple):
    """The weights of a model of MoE layers, and what it is given."""

    x: Tensor  # (T, D)
    routers: Tensor  # (L, E, D)
    experts: Tensor  # (L, E, D, D)
    top_k: int


def drawn(seed: int, n_layers: int, top_k: int) -> Small:
    """Draw a model and its input from a seed."""
    random = generator(seed)
    x = torch.randn(N_TOKENS, WIDTH, generator=random)
    routers = torch.randn(n_layers, N_EXPERTS, WIDTH, generator=random)
    experts = torch.randn(n_layers, N_EXPERTS, WIDTH, WIDTH, generator=random) / WIDTH**0.5
    return Small(x, routers, experts, top_k)


def recorded(model: Small, fault: tuple[int, str] | None = None) -> Model:
    """Run the model and write down all six tensors of every layer.

    `fault` is a layer and the name of the first tensor that comes out otherwise there; what comes
    after it is computed from the spoilt one.
    """
    x, records = model.x, []
    everyone = torch.arange(N_TOKENS)[:, None]
    for layer, (router, experts) in enumerate(zip(model.routers, model.experts, strict=True)):

        def spoilt(name: str, part: Tensor, at: int = layer) -> Tensor:
            return 1.1 * part + 0.1 if fault == (at, name) else part

        x = spoilt("x", x)
        logits = x @ router.T
        if fault == (layer, "logits"):  # who is chosen follows from them
            logits = logits.roll(1, dims=1)
        expert_ids = logits.topk(model.top_k).indices
        if fault == (layer, "expert_ids"):  # the best of the first token is passed over
            expert_ids = torch.cat(
                [logits[:1].topk(model.top_k + 1).indices[:, 1:], expert_ids[1:]]
            )
        gates = spoilt("gates", logits.gather(1, expert_ids).softmax(dim=1))
        answers = torch.einsum("td,efd->etf", x, experts).tanh()[expert_ids, everyone]
        answers = spoilt("answers", answers)
        y = spoilt("y", (gates[..., None] * answers).sum(dim=1))
        parts = (x, logits, expert_ids, gates, answers, y)
        records.append(dict(zip(NAMES, parts, strict=True)))
        x = x + y
    return records


def in_other_order(record: Record, seed: int) -> Record:
    """List the experts of every token in another order."""
    order = torch.rand(record["expert_ids"].shape, generator=generator(seed)).argsort(dim=1)
    return {
        **record,
        "expert_ids": record["expert_ids"].gather(1, order),
        "gates": record["gates"].gather(1, order),
        "answers": torch.take_along_dim(record["answers"], order[..., None], dim=1),
    }


def changed(record: Record, name: str, share: float, seed: int) -> Record:
    """Shift numbers by up to a share of the largest of their tensor; `name` may be "all"."""

    def shifted(part: Tensor) -> Tensor:
        noise = 2 * torch.rand(part.shape, generator=generator(seed)) - 1
        return part + share * part.abs().max() * noise

    floats = [one for one in NAMES if one != "expert_ids" and name in (one, "all")]
    return {**record, **{one: shifted(record[one]) for one in floats}}
