"""Chapter 11: the shipped model with some of its experts, and the texts it is measured on.

    python -m moe_teach.chapters.ch11_reading_the_router.keeping

chooses the texts and measures the sample anew, into `sample.npz`. What a reader is given comes from
training text, what they are judged on from held-out text.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from moe_teach.nn.model import Model
from moe_teach.train.bias import routers_of

STORED = Path(__file__).with_name("sample.npz")
LENGTH, N_SAMPLE, N_SETS, N_TEXTS = 128, 8, 3, 4
AWAY = 1e3  # far above any probability: who has it taken off is chosen last


class Sample(NamedTuple):
    """What one domain does to the shipped model: L layers, E experts.

    How often each expert is chosen, the sum of its gates, and the rise of the loss without it.
    """

    counts: Tensor  # (L, E)
    gates: Tensor  # (L, E)
    damage: Tensor  # (L, E), nats


@contextmanager
def keeping(model: Model, kept: Bool[Tensor, "L E"]) -> Iterator[None]:
    """Let tokens choose among the kept experts only, inside the block.

    The others get a selection bias that nobody can beat, so a token takes its next best experts
    and its gates are those of the experts it takes.
    """
    routers = list(routers_of(model))
    before = [router.expert_bias.clone() for router in routers]
    try:
        for router, own in zip(routers, kept, strict=True):
            router.expert_bias.sub_(AWAY * (~own).to(router.expert_bias.dtype))
        yield
    finally:
        for router, bias in zip(routers, before, strict=True):
            router.expert_bias.copy_(bias)


@torch.no_grad()
def loss_on(model: Model, texts: Int[Tensor, "N S"]) -> float:
    """Return the mean loss in nats for each token, the first of each text excepted."""
    logits = model(texts[:, :-1]).logits
    return cross_entropy(logits.flatten(0, 1).float(), texts[:, 1:].flatten()).item()


@lru_cache(maxsize=1)
def stored_sample() -> dict[str, Sample]:
    """Read what each domain's sample of training text did."""
    with np.load(STORED) as tables:
        names = sorted(key.removesuffix(".counts") for key in tables if key.endswith(".counts"))
        return {
            name: Sample(*(torch.from_numpy(tables[f"{name}.{part}"]) for part in Sample._fields))
            for name in names
        }


@lru_cache(maxsize=1)
def stored_texts() -> dict[str, list[Int[Tensor, "N S"]]]:
    """Read the held-out texts by domain: three sets of four."""
    with np.load(STORED) as tables:
        return {
            name: list(torch.from_numpy(tables[f"{name}.texts"].astype(np.int64)))
            for name in stored_sample()
        }


@torch.no_grad()
def measure(model: Model, texts: Int[Tensor, "N S"]) -> Sample:
    """Run a text through the model, and once more without each of its experts."""
    routings = model(texts[:, :-1]).routings
    n_layers, n_experts = len(routings), routings[0].n_experts
    counts, gates = torch.zeros(2, n_layers, n_experts)
    for layer, routing in enumerate(routings):
        ids, own = routing.expert_ids.flatten(), routing.gates.flatten()
        counts[layer].index_add_(0, ids, torch.ones_like(own))
        gates[layer].index_add_(0, ids, own)
    whole, damage = loss_on(model, texts), torch.zeros(n_layers, n_experts)
    for layer in range(n_layers):
        for expert in range(n_experts):
            kept = torch.ones(n_layers, n_experts, dtype=torch.bool)
            kept[layer, expert] = False
            with keeping(model, kept):
                damage[layer, expert] = loss_on(model, texts) - whole
    return Sample(counts, gates, damage)


def windows(token_ids: Int[Tensor, " T"], n_windows: int) -> Int[Tensor, "N S"]:
    """Cut windows that are spread evenly over a long text."""
    last = len(token_ids) - LENGTH - 1
    starts = [i * last // n_windows for i in range(n_windows)]
    return torch.stack([token_ids[start : start + LENGTH + 1] for start in starts])


def write(samples: Mapping[str, Sample], texts: Mapping[str, Float[Tensor, "R N S"]]) -> None:
    """Store samples and texts beside this file."""
    tables = {
        f"{name}.{part}": table.numpy()
        for name, sample in samples.items()
        for part, table in sample._asdict().items()
    }
    own = {f"{name}.texts": found.numpy().astype(np.uint16) for name, found in texts.items()}
    with STORED.open("wb") as file:
        np.savez_compressed(file, **tables, **own)


def record() -> None:
    """Choose the texts and measure them with the shipped model."""
    from moe_teach.data.corpus import build_corpus
    from moe_teach.train.shipped import load_shipped

    model, tokenizer, _ = load_shipped()
    corpus, n_held = build_corpus(), N_SETS * N_TEXTS
    samples, texts = {}, {}
    for name in corpus.domains:
        taught = torch.as_tensor(tokenizer.encode(corpus.train[name][:200_000]))
        held = torch.as_tensor(tokenizer.encode(corpus.validation[name][:100_000]))
        samples[name] = measure(model, windows(taught, N_SAMPLE))
        texts[name] = windows(held, n_held).view(N_SETS, N_TEXTS, LENGTH + 1)
    write(samples, texts)


if __name__ == "__main__":
    record()
