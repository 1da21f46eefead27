"""Text from a model, one token at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.nn.router import Router


@torch.no_grad()
def generate(
    model: nn.Module,
    token_ids: Sequence[int],
    n_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    use_cache: bool = True,
) -> list[int]:
    """Continue a text by `n_tokens` and return the new tokens.

    No expert is ever full here: tokens that come one by one would be turned away by nobody but
    their own past. So a capacity does not act, and the cache changes nothing.

    Args:
        model: a `Model`; its mode is left as it was found.
        token_ids: the beginning, at least one token.
        n_tokens: how many to add.
        temperature: 0 always takes the likeliest token; above 1 flattens the choice.
        top_k: choose among the k likeliest tokens only.
        seed: the same seed gives the same text.
        use_cache: remember keys and values; else each step reads the whole text again.

    Raises:
        ValueError: if a wish is impossible, the text outgrows the model's max_seq_len, or a
            cache would hide the text from experts that choose.
    """
    _demand_sense(token_ids, temperature, top_k)
    _demand_room(model, token_ids, n_tokens)
    _demand_causal(model, use_cache)
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    text, cache = list(token_ids), model.new_cache() if use_cache else None
    with _speaking(model):
        while len(text) < len(token_ids) + n_tokens:
            unread = text if cache is None else text[cache.n_tokens :]
            logits = model(torch.tensor([unread], device=device), cache).logits[0, -1]
            text.append(_choose(logits, temperature, top_k, generator))
    return text[len(token_ids) :]


def _demand_sense(token_ids: Sequence[int], temperature: float, top_k: int | None) -> None:
    refuse(len(token_ids) == 0, "There is nothing to continue: give at least one token.")
    refuse(temperature < 0, f"temperature must not be negative, but it is {temperature}.")
    refuse(top_k is not None and top_k < 1, f"top_k must be at least 1, but it is {top_k}.")


def _demand_room(model: nn.Module, token_ids: Sequence[int], n_tokens: int) -> None:
    """Refuse before the work is done, and not when the text has outgrown the model."""
    if not isinstance(model, Model):
        return
    longest, n_given = model.config.max_seq_len, len(token_ids)
    room = max(longest + 1 - n_given, 0)  # the last token is written and never read
    refuse(
        n_tokens > room,
        f"The beginning has {n_given} tokens and the model was built for at most {longest}, so "
        f"it can add {room}, not {n_tokens}.",
    )
    model.demand_ids(torch.tensor(list(token_ids)))


def _demand_causal(model: nn.Module, use_cache: bool) -> None:
    """Refuse to hide the text from experts that choose among all of its tokens."""
    routers = [module for module in model.modules() if isinstance(module, Router)]
    refuse(
        use_cache and any(router.config.choice == "expert" for router in routers),
        "Here the experts choose among all tokens they see, and with a cache they would see one "
        "at a time: call generate with use_cache=False.",
    )


@contextmanager
def _speaking(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode for a while, and take the capacity off every layer."""
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    factors = [layer.capacity_factor for layer in layers]
    try:
        for layer in layers:
            layer.capacity_factor = None
        with in_evaluation(model):
            yield
    finally:
        for layer, factor in zip(layers, factors, strict=True):
            layer.capacity_factor = factor


def _choose(
    logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator
) -> int:
    # Drawn on the CPU, so that a seed means the same text on every device of equal logits.
    logits = logits.double().cpu()
    if temperature == 0:
        return int(logits.argmax())
    if top_k is not None and top_k < len(logits):
        lowest = logits.topk(top_k).values[-1]
        logits = logits.masked_fill(logits < lowest, -torch.inf)
    probs = (logits / temperature).softmax(dim=-1)
    return int(torch.multinomial(probs, 1, generator=generator))
