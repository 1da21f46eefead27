"""What several exercises of this chapter are tried on, and what they all require."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import WrongAnswer, generator, require, require_tensor


def even_ids(n_tokens: int, n_experts: int, top_k: int) -> Tensor:
    """Deal the experts out like cards."""
    return torch.arange(n_tokens * top_k).view(n_tokens, top_k) % n_experts


def random_ids(n_tokens: int, n_experts: int, top_k: int, seed: int) -> Tensor:
    """Choose at random; low numbers more often, and the last expert never where possible.

    The first columns of a longer list, as they are when a router's ranking is cut off: in memory
    the rows do not touch each other.
    """
    wish = torch.rand(n_tokens, n_experts, generator=generator(seed))
    wish = wish - torch.linspace(0, 0.7, n_experts)
    if n_experts > top_k:
        wish[:, -1] = -9.0
    return wish.argsort(dim=-1, descending=True)[:, :top_k]


def ids_of_counts(counts: list[int], seed: int) -> Tensor:
    """Give each expert its number of tokens, of one choice each, in random order: (T, 1)."""
    experts = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    order = torch.randperm(len(experts), generator=generator(seed))
    return experts[order][:, None]


def random_probs(n_tokens: int, n_experts: int, seed: int) -> Tensor:
    """Give a softmax that is far from even."""
    return (2 * torch.randn(n_tokens, n_experts, generator=generator(seed))).softmax(dim=-1)


def balance(probs: Tensor, ids: Tensor) -> Tensor:
    """Give the balancing loss: 1 when even, for every k."""
    load = torch.bincount(ids.flatten(), minlength=probs.shape[-1]) / ids.numel()
    return probs.shape[-1] * (load * probs.mean(dim=0)).sum()


def one_number(got: Any, example: dict[str, Any]) -> Tensor:
    """Reject what is not a tensor with a single number; give that number without axes."""
    require_tensor(got, example)
    require(
        got.numel() == 1,
        f"A loss is one number, and this tensor holds {got.numel()}.",
        cause="An axis is still there: nothing was summed or averaged over it.",
        cure="Reduce over the experts as the formula says, and over the tokens by a mean.",
        got=got,
        example=example,
    )
    return got.reshape(())


def call_with_idle_experts(answer: Any, given: dict[str, Any], cure: str) -> Any:
    """Call the answer where some experts have no tokens; explain the error this often causes."""
    try:
        return answer(**given)
    except (RuntimeError, ValueError, IndexError) as error:
        if not any(word in str(error) for word in ("size", "shape", "out of bounds")):
            raise  # another mistake, or the stub; its own words say more
        raise WrongAnswer(
            f"It failed when the last experts were chosen by nobody ({type(error).__name__}).",
            cause="Counting ends at the last expert that was chosen, so the vector is too short.",
            cure=cure,
            example=given,
        ) from error
