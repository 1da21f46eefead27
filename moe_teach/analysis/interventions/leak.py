"""How much of a text its routes alone give away."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.config import refuse


@dataclass(frozen=True)
class Leak:
    """How often a probe names the token from its expert ids, in texts it has not seen.

    `majority` is how often the most frequent token of the probe's training texts is right.
    """

    accuracy: float
    majority: float
    n_train: int
    n_held_out: int


def leak(
    record: RouteRecord,
    layers: tuple[int, ...] | None = None,
    *,
    steps: int = 300,
    width: int = 128,
    seed: int = 0,
) -> Leak:
    """Train a small network to name tokens by who computed them, and try it on held-out texts.

    One hidden layer over the chosen experts of all layers (ids only: no gates, no neighbours).
    A better reader would find more, so this is a lower bound. Compare it with the same of an
    untrained router (`untrained.with_untrained_routers`): what that gives away, too, is not the
    fault of specialisation. The attack on whole texts is arXiv 2602.04105.

    Args:
        record: of at least two texts; a quarter of them, at least one, are held out.
        layers: which ones are overheard; all by default.
        steps: of Adam, each on 512 tokens.
        width: of the hidden layer.
        seed: of weights, batches and division.

    Raises:
        ValueError: there are fewer than two texts, or no such layer.
    """
    layers = tuple(range(record.n_layers)) if layers is None else layers
    refuse(
        not layers or not set(layers) <= set(range(record.n_layers)),
        f"There are layers 0 to {record.n_layers - 1}; {layers} are not among them.",
    )
    source = torch.Generator().manual_seed(seed)
    seen = _seen(record.sequence_ids, source)
    heard = _heard(record, layers)
    words, target = record.token_ids.unique(return_inverse=True)
    probe = _trained(heard[seen], target[seen], len(words), steps, width, source)
    with torch.no_grad():
        right = probe(heard[~seen]).argmax(-1) == target[~seen]
    most = torch.bincount(target[seen]).argmax()
    majority = float((target[~seen] == most).double().mean())
    return Leak(float(right.double().mean()), majority, int(seen.sum()), int((~seen).sum()))


def _seen(sequence_ids: Tensor, source: torch.Generator) -> Tensor:
    of_token = sequence_ids.unique(return_inverse=True)[1]
    n_texts = int(of_token.max()) + 1 if len(of_token) else 0
    refuse(n_texts < 2, f"A probe needs texts to learn from and others to try, not {n_texts}.")
    order = torch.randperm(n_texts, generator=source)
    return ~torch.isin(of_token, order[: max(1, n_texts // 4)])


def _heard(record: RouteRecord, layers: tuple[int, ...]) -> Float[Tensor, "T heard"]:
    chosen = F.one_hot(record.expert_ids[:, list(layers)].long(), record.n_experts)
    return chosen.sum(2).flatten(1).float()


def _trained(
    heard: Float[Tensor, "T heard"],
    target: Int[Tensor, " T"],
    n_words: int,
    steps: int,
    width: int,
    source: torch.Generator,
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=source)))
        probe = nn.Sequential(
            nn.Linear(heard.shape[1], width), nn.ReLU(), nn.Linear(width, n_words)
        )
    optimiser = torch.optim.Adam(probe.parameters(), lr=1e-2)
    with torch.enable_grad():
        for step in range(steps):
            picked = torch.randint(len(heard), (512,), generator=source)
            loss = F.cross_entropy(probe(heard[picked]), target[picked])
            optimiser.zero_grad()
            loss.backward()
            for group in optimiser.param_groups:
                group["lr"] = 1e-2 * (1 - step / steps)
            optimiser.step()
    return probe
