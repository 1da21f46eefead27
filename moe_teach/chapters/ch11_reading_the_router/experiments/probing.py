"""Chapter 11: a model with one expert fewer, with changed words, and read by its routes alone."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.chapters.ch11_reading_the_router.damage import damage
from moe_teach.chapters.ch11_reading_the_router.keeping import keeping
from moe_teach.chapters.ch11_reading_the_router.path_divergence import divergence
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.seeding import seeded

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
def token_losses(model: Model, batch: Batch) -> Float[Tensor, "B S"]:
    """Return the loss in nats of every token of a batch."""
    logits = model(batch.inputs).logits.float()
    return cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")


def damage_of(model: Model, batches: Sequence[Batch], n_domains: int) -> Float[Tensor, "L E D"]:
    """Return what every domain loses, in nats, without each of the experts."""
    n_layers, n_experts = model.config.n_layers, model.config.moe.router.n_experts

    def without(layer: int) -> Float[Tensor, "E D"]:
        def losses(batch: Batch, expert: int | None) -> Tensor:
            kept = torch.ones(n_layers, n_experts, dtype=torch.bool)
            if expert is not None:
                kept[layer, expert] = False
            with keeping(model, kept):
                return token_losses(model, batch)

        return damage(losses, batches, n_experts, n_domains)

    return torch.stack([without(layer) for layer in range(n_layers)])


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


def leak(record: RouteRecord, layers: Sequence[int], steps: int = 150) -> float:
    """Learn to tell the token from the routes alone; return the share told right on other texts.

    A small net sees which experts of `layers` were chosen, and nothing else.
    """
    chosen = record.expert_ids[:, list(layers)]
    marks = one_hot(chosen, record.n_experts).amax(dim=2).flatten(1).float()
    is_test = record.sequence_ids // len(record.domains) % 2 == 1  # half of each domain
    with seeded(0):
        net = nn.Sequential(nn.Linear(marks.shape[1], 96), nn.ReLU(), nn.Linear(96, 256))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    random = torch.Generator().manual_seed(0)
    taught, answers = marks[~is_test], record.token_ids[~is_test]
    for _ in range(steps):
        rows = torch.randint(len(taught), (1024,), generator=random)
        loss = cross_entropy(net(taught[rows]), answers[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        guessed = net(marks[is_test]).argmax(dim=-1)
    return (guessed == record.token_ids[is_test]).float().mean().item()


def most_frequent(record: RouteRecord) -> float:
    """Return the share of the most frequent token: what a guess without routes gets right."""
    return record.token_ids.bincount().max().item() / len(record)


def rounded(table: Tensor) -> Any:
    """Give a table as plain lists of four digits."""
    return [round(x, 4) for x in table.tolist()] if table.ndim == 1 else list(map(rounded, table))
