"""Draw the next token of every text in a batch, each with its own wishes and its own luck."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from moe_teach.deploy.engine.requests import Alternatives, Sampling


def choose(
    logits: Float[Tensor, "n V"], wishes: Sequence[Sampling], luck: Sequence[Generator]
) -> list[int]:
    """Choose one token for each row; for equal logits the one `train.generate` would choose.

    Each row draws from its own generator, so a text does not depend on its neighbours.
    """
    chosen = logits.argmax(dim=-1).tolist()
    drawn = [row for row, wish in enumerate(wishes) if wish.temperature > 0]
    if drawn:
        probs = next_probs(logits[drawn], [wishes[row] for row in drawn])
        for row, token in zip(drawn, draw(probs, [luck[row] for row in drawn]), strict=True):
            chosen[row] = token
    return chosen


def log_probs(
    logits: Float[Tensor, "n V"], chosen: Sequence[int], n_alternatives: Sequence[int]
) -> list[tuple[float, Alternatives | None]]:
    """Give each chosen token's log-probability, and the likeliest tokens of rows that want some.

    They are the model's own, before temperature, top-k and top-p.
    """
    norms = logits.logsumexp(dim=-1)
    picked = logits.gather(-1, torch.tensor(chosen, device=logits.device)[:, None])[:, 0]
    own = (picked - norms).tolist()
    asked = [row for row, n in enumerate(n_alternatives) if n]
    if not asked:
        return [(logprob, None) for logprob in own]
    most = min(max(n_alternatives), logits.shape[-1])
    values, token_ids = logits[asked].topk(most, dim=-1)
    named = {
        row: tuple(zip(ids, likely, strict=True))[: n_alternatives[row]]
        for row, ids, likely in zip(
            asked, token_ids.tolist(), (values - norms[asked, None]).tolist(), strict=True
        )
    }
    return [(logprob, named.get(row)) for row, logprob in enumerate(own)]


def next_probs(logits: Float[Tensor, "n V"], wishes: Sequence[Sampling]) -> Float[Tensor, "n V"]:
    """Return the distributions that tokens are drawn from, in float64.

    Top-k looks at the logits, then comes the temperature, then top-p at the probabilities. Where
    tokens tie at the border of top-k, all of them stay. Temperature 0 is certainty.
    """
    logits = logits.to(torch.float64, copy=True)
    for row, wish in enumerate(wishes):
        if wish.top_k is not None and wish.top_k < logits.shape[-1]:
            lowest = logits[row].topk(wish.top_k).values[-1]
            logits[row].masked_fill_(logits[row] < lowest, -torch.inf)
    temperatures = logits.new_tensor([wish.temperature or 1.0 for wish in wishes])
    probs = (logits / temperatures[:, None]).softmax(dim=-1)
    for row, wish in enumerate(wishes):
        if wish.temperature == 0:
            probs[row] = torch.zeros_like(probs[row]).index_fill_(0, logits[row].argmax(), 1.0)
        elif wish.top_p < 1:
            probs[row] = _nucleus(probs[row], wish.top_p)
    return probs


def _nucleus(probs: Float[Tensor, " V"], top_p: float) -> Float[Tensor, " V"]:
    """Keep the likeliest tokens until together they reach `top_p`; the first always stays."""
    ordered, token_ids = probs.sort(descending=True, stable=True)
    is_late = ordered.cumsum(dim=-1) - ordered >= top_p
    kept = ordered.masked_fill(is_late, 0.0)
    return torch.zeros_like(probs).scatter_(0, token_ids, kept / kept.sum())


def draw(probs: Float[Tensor, "n V"], luck: Sequence[Generator]) -> list[int]:
    """Let tokens race: exponential waiting times with these rates end first with `probs`.

    It is what `torch.multinomial` does for one draw, here for all rows at once; a row's numbers
    come from its own generator, drawn on the CPU so that a seed means the same on every device.
    """
    waits = torch.empty(probs.shape, dtype=probs.dtype)
    for row, generator in zip(waits, luck, strict=True):
        row.exponential_(generator=generator)
    return (probs.cpu() / waits).argmax(dim=-1).tolist()
