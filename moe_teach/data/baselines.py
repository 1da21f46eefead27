"""The ladder of reference losses: what a model must beat before it has learned anything.

Every loss is in nats per token, fitted on the training side and measured on the validation side,
on the same tokens: all but the first of each domain, which no bigram can predict. Where there are
several domains, each counts the same, however long its text, as in `Batches` with equal weights.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse

Ids = Int[Tensor, " _"] | Mapping[str, Int[Tensor, " _"]]


def uniform_loss(vocab_size: int) -> float:
    """Return ln V: every token equally likely; where an untrained model should stand."""
    refuse(vocab_size < 1, f"vocab_size must be at least 1, but it is {vocab_size}.")
    return math.log(vocab_size)


def unigram_loss(train: Ids, validation: Ids, vocab_size: int) -> float:
    """Return the loss of knowing how frequent each token is, and nothing of what came before.

    Frequencies are smoothed by one extra occurrence of every token.

    Raises:
        ValueError: a text is too short, or a token id does not fit the vocabulary.
    """
    parts, measured = _parts(train, vocab_size), _parts(validation, vocab_size)
    log_p = _unigram(parts, vocab_size).log()
    return _mean([-log_p[ids[1:]].mean() for ids in measured])


def bigram_loss(train: Ids, validation: Ids, vocab_size: int, prior: float = 5.0) -> float:
    """Return the loss of knowing, besides, the one token before.

    A pair's frequency is smoothed towards the unigram p(b), as if each first token had been seen
    `prior` times more: p(b | a) = (n_ab + prior * p(b)) / (n_a + prior) (MacKay and Peto 1995).

    Raises:
        ValueError: a text is too short, a token id does not fit the vocabulary, or the prior is
            not positive.
    """
    refuse(prior <= 0, f"prior must be positive, but it is {prior}.")
    parts, measured = _parts(train, vocab_size), _parts(validation, vocab_size)
    p = _unigram(parts, vocab_size)
    pairs, n_pairs = _weighted([_pair_ids(ids, vocab_size) for ids in parts])
    first = pairs // vocab_size
    n_first = torch.zeros(vocab_size, dtype=torch.float64).index_add_(0, first, n_pairs)

    losses = []
    for ids in measured:
        wanted = _pair_ids(ids, vocab_size)
        place = torch.searchsorted(pairs, wanted).clamp(max=len(pairs) - 1)
        n_ab = n_pairs[place] * (pairs[place] == wanted)
        a, b = ids[:-1], ids[1:]
        losses.append(-((n_ab + prior * p[b]) / (n_first[a] + prior)).log().mean())
    return _mean(losses)


def _unigram(parts: list[Int[Tensor, " _"]], vocab_size: int) -> Float[Tensor, " V"]:
    tokens, counts = _weighted(parts)
    smoothed = torch.ones(vocab_size, dtype=torch.float64).index_add_(0, tokens, counts)
    return smoothed / smoothed.sum()


def _weighted(parts: list[Int[Tensor, " _"]]) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Count what occurs, sorted; a domain twice as long as the mean counts half for each token."""
    mean_length = sum(map(len, parts)) / len(parts)
    weights = torch.cat(
        [torch.full((len(ids),), mean_length / len(ids), dtype=torch.float64) for ids in parts]
    )
    values, place = torch.cat(parts).unique(return_inverse=True)
    counts = torch.zeros(len(values), dtype=torch.float64)
    return values, counts.index_add_(0, place, weights)


def _pair_ids(ids: Int[Tensor, " _"], vocab_size: int) -> Int[Tensor, " _"]:
    return ids[:-1] * vocab_size + ids[1:]


def _parts(text: Ids, vocab_size: int) -> list[Int[Tensor, " _"]]:
    parts = list(text.values()) if isinstance(text, Mapping) else [text]
    refuse(not parts, "There is no text: pass token ids, or at least one domain.")
    for ids in parts:
        refuse(len(ids) < 2, f"A text of {len(ids)} tokens is too short: pairs need two.")
        low, high = int(ids.min()), int(ids.max())
        refuse(
            low < 0 or high >= vocab_size,
            f"Token ids must lie in [0, {vocab_size}), but these go from {low} to {high}.",
        )
    return [ids.long() for ids in parts]


def _mean(losses: list[Tensor]) -> float:
    return float(torch.stack(losses).mean())
