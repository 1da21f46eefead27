"""Traces of the trained model that comes with the package, on held-out text of four domains.

    python -m moe_teach.chapters.ch14_memory.recorded

records them anew into `traces.npz`. A stored trace gives the same hit rate on every machine; a
fresh one may choose another expert where two are nearly equal.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from moe_teach.deploy.store.trace import Trace, record_trace, taking_turns

STORED = Path(__file__).with_name("traces.npz")
TEXT, N_TEXTS = 256, 6  # tokens of a text, as long as the model reads, and texts of a domain


def texts(
    tokenizer: object, validation: Mapping[str, str], n_texts: int = N_TEXTS
) -> dict[str, list[Tensor]]:
    """Cut the beginning of each domain's held-out text into texts of 256 tokens."""
    cut = {}
    for domain, text in validation.items():
        ids = torch.as_tensor(tokenizer.encode(text[: 8 * n_texts * TEXT]))
        cut[domain] = list(ids.split(TEXT)[:n_texts])
    return cut


def record() -> dict[str, list[Trace]]:
    """Record a trace of every text from the shipped model."""
    from moe_teach.data.corpus import build_corpus
    from moe_teach.train.shipped import load_shipped

    model, tokenizer, _ = load_shipped()
    found = texts(tokenizer, build_corpus().validation)
    return {domain: [record_trace(model, ids) for ids in own] for domain, own in found.items()}


def write(traces: Mapping[str, list[Trace]]) -> None:
    """Store traces beside this file; expert ids take a byte each."""
    tables = {
        domain: torch.stack([trace.expert_ids for trace in own]).to(torch.uint8).numpy()
        for domain, own in traces.items()
    }
    with STORED.open("wb") as file:
        np.savez_compressed(file, **tables)


@lru_cache(maxsize=1)
def stored_traces() -> dict[str, list[Trace]]:
    """Read the stored traces, 6 of each domain."""
    with np.load(STORED) as tables:
        return {
            domain: [as_trace(torch.from_numpy(own.astype(np.int64))) for own in tables[domain]]
            for domain in tables.files
        }


def as_trace(expert_ids: Int[Tensor, "T L K"], n_experts: int = 16) -> Trace:
    """Make a trace of choices, one token a step."""
    nobody = torch.full((len(expert_ids),), -1)
    return Trace(expert_ids, torch.arange(len(expert_ids)), nobody, n_experts)


def one_after_another(traces: list[Trace], n_tokens: int) -> Trace:
    """Read the beginnings of several texts one after another, as a user does who changes."""
    return as_trace(torch.cat([trace.expert_ids[:n_tokens] for trace in traces]))


def loads(n: int) -> Iterator[tuple[str, Trace]]:
    """Give the loads of the open task made of the n-th text of each domain."""
    own = {domain: traces[n] for domain, traces in stored_traces().items()}
    yield from own.items()
    order = list(own.values())
    turned = order[n % len(order) :] + order[: n % len(order)]
    yield "four users in turn", taking_turns([trace.first(64) for trace in turned])
    yield "a user who changes", one_after_another(turned, 64)


if __name__ == "__main__":
    write(record())
