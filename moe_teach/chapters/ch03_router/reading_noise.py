"""Reads the noise of a router off its gates: exercise 3.2 cannot see it in another way."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from moe_teach.judging.compare import close
from moe_teach.judging.exercise import Words, require

# softplus of it is 0.00005: the noisy logit of an expert with next to no noise is the clean one
SILENT = -10.0
_WRONG_SIZE = (
    "It is multiplied by noise_logits itself, its exponential, a square root, a ReLU, or not at "
    "all; softplus may also stand around the product, or something be added to it."
)
_RIGHT_SIZE = (
    "Its standard deviation is softplus(noise_logits), for each token and expert: multiply "
    "standard normal numbers by that."
)
_SIZES = (-2.0, 0.0, 2.0)
_MANY = {
    "logits": Words("standard normal numbers (4000, 4)"),
    "noise_logits": Words("-2, 0 or 2 for each token and expert"),
    "top_k": 4,
}


def noisy_logits(
    answer: Callable[..., Any], logits: Tensor, noise_logits: Tensor, random: Any, silent: int = 0
) -> Tensor:
    """Read the noisy logits off the gates of all experts.

    Gates of all experts give them up to one number for each token; expert `silent`, which has next
    to no noise, gives that number. Raises `WrongAnswer` where gates and choice have two sources.
    """
    n_experts = logits.shape[1]
    gates, ids = answer(logits, noise_logits, n_experts, True, random)
    by_expert = torch.zeros_like(gates).scatter(1, ids.long(), gates)
    _require_one_source(gates, ids, by_expert, logits)
    relative = by_expert.log()
    return relative + (logits - relative)[:, silent, None]


def _require_one_source(gates: Tensor, ids: Tensor, by_expert: Tensor, logits: Tensor) -> None:
    example = {"logits": logits, "top_k": logits.shape[1], "training": True}
    is_sorted = bool((gates[:, :-1] >= gates[:, 1:]).all())
    is_clean_choice = close(ids, logits.topk(logits.shape[1], dim=-1).indices)
    require(
        is_sorted or not is_clean_choice,
        "The gates are not sorted, largest first: the noise reached the gates, and the choice "
        "followed the clean logits.",
        cause="The choice was made on the clean logits, before the noise came.",
        cure="Add the noise once, then choose.",
        got=gates,
        example=example,
    )
    require(
        is_clean_choice or not close(by_expert, logits.softmax(dim=-1)),
        "The choice follows the noisy logits, but the gates come from the clean ones.",
        cause="The ids were taken from the noisy logits, and the numbers behind the gates were "
        "not.",
        cure="Take the softmax over the chosen *noisy* logits.",
        got=gates,
        example=example,
    )
    require(
        is_sorted,
        "In training the gates are not sorted, largest first.",
        cause="Choice and gates come from two draws of the noise.",
        cure="Both must come from the *same* noisy logits: draw once, and keep the sum.",
        got=gates,
        example=example,
    )


def require_independent(draws: Tensor, silent: int, example: dict[str, Any]) -> None:
    """Reject draws (call, token, expert) of which one follows another; the silent one is left out.

    Chance alone reaches a correlation of 0.65 over 64 calls once in some millions of pairs.
    """
    _require_unit_spread(draws, silent, example)
    _, n_tokens, n_experts = draws.shape
    token = torch.arange(n_tokens).repeat_interleave(n_experts)
    expert = torch.arange(n_experts).repeat(n_tokens)
    loud = expert != silent
    alike = torch.corrcoef(draws.flatten(1).T).nan_to_num(1.0).abs() * (loud[:, None] & loud)
    same_token, same_expert = token[:, None] == token, expert[:, None] == expert
    require(
        not ((alike > 0.95) & same_token & ~same_expert).any(),
        "Every expert of a token met the same noise, or some of them did.",
        cause="One number was drawn for each token.",
        cure="Draw one number for each token and each expert: the shape is that of `logits`.",
        example=example,
    )
    require(
        not ((alike > 0.95) & ~same_token & same_expert).any(),
        "Every token met the same noise, or some of them did.",
        cause="One number was drawn for each expert, and broadcasting repeated it.",
        cure="Draw with the shape of `logits`, not with the number of experts alone.",
        example=example,
    )
    require(
        not ((alike > 0.65) & ~(same_token & same_expert)).any(),
        "Over many calls the noise of one token and expert follows that of another, or an expert "
        "whose noise_logits are -10 has noise.",
        cause="Draws were mixed, summed, shifted or sorted after they were made.",
        cure="Each needs a draw of its own, times its own softplus(noise_logits).",
        example=example,
    )


def _require_unit_spread(draws: Tensor, silent: int, example: dict[str, Any]) -> None:
    spread = draws.std(dim=0)[:, torch.arange(draws.shape[2]) != silent]
    require(
        bool(((spread > 0.2) & (spread < 1.6)).all()),
        "The noise has the wrong size.",
        cause=_WRONG_SIZE,
        cure=_RIGHT_SIZE,
        expected=Words("noise that spreads by 1 once it is divided by softplus(noise_logits)"),
        got=Words(f"it spreads by {spread.min():.2f} to {spread.max():.2f}"),
        example=example,
    )


def many_draws(seed: int) -> tuple[Tensor, Tensor]:
    """Draw logits and noise_logits of 4,000 tokens and 4 experts, the first of them silent."""
    random = torch.Generator().manual_seed(seed)
    noise_logits = torch.tensor(_SIZES)[torch.randint(0, 3, (4_000, 4), generator=random)]
    noise_logits[:, 0] = SILENT
    return torch.randn(4_000, 4, generator=random), noise_logits


def require_standard_normal(added: Tensor, logits: Tensor, noise_logits: Tensor) -> None:
    """Reject what was added to `many_draws` unless it is normal noise of the right size.

    12,000 draws: the bounds are at least six standard errors wide.
    """
    _require_added(added, logits)
    noise = (added / softplus(noise_logits))[:, 1:].double()
    mean = noise.mean().item()
    require(
        abs(mean) < 0.08,
        "The noise favours one expert: its mean is not zero.",
        cause="It is a uniform number between 0 and 1, an absolute value, or comes out of "
        "softplus.",
        cure="Use a standard normal (`torch.randn`), not a uniform number, as it is.",
        expected=0.0,
        got=mean,
        example=_MANY,
    )
    for size in _SIZES:
        _require_spread(added[noise_logits == size], size)
    peak = (noise.pow(4).mean() / noise.square().mean().square()).item()
    require(
        abs(peak - 3) < 0.4,
        "The noise has the right mean and spread and is not *normal*: very large or very small "
        "numbers come too often or too seldom.",
        cause="It is drawn uniformly, as a sign, or cut off.",
        cure="Use `torch.randn`, as it comes.",
        expected=Words("a fourth moment of 3, as normal numbers have"),
        got=Words(f"a fourth moment of {peak:.2f}"),
        example=_MANY,
    )


def _require_added(added: Tensor, logits: Tensor) -> None:
    clean = logits - logits[:, :1]
    slope = float((added * clean).sum() / clean.square().sum())
    require(
        abs(slope) < 0.1,
        "The noisy logits do not grow with the clean ones as they should.",
        cause="The noise takes the place of the logits, or multiplies them.",
        cure="Noise is *added* to the logits: logits + noise * softplus(noise_logits).",
        expected=Words("a noisy logit grows by 1 where the clean one grows by 1"),
        got=Words(f"it grows by {1 + slope:.2f}"),
        example=_MANY,
    )


def _require_spread(added: Tensor, size: float) -> None:
    wanted, std = softplus(torch.tensor(size)).item(), added.std().item()
    require(
        abs(std / wanted - 1) < 0.08,
        "The noise is independent and centred, and has the wrong size.",
        cause=_WRONG_SIZE,
        cure=_RIGHT_SIZE,
        expected=Words(f"where noise_logits is {size:g}, the noise spreads by {wanted:.3f}"),
        got=Words(f"it spreads by {std:.3f}"),
        example=_MANY,
    )


def require_new_noise(
    answer: Any, logits: Tensor, random: Any, symptom: str, cause: str, cure: str
) -> None:
    """Reject an answer whose second call meets the noise of its first."""
    first, second = (answer(logits, logits, 2, True, random)[0] for _ in range(2))
    require(
        not close(first, second),
        symptom,
        cause=cause,
        cure=cure,
        expected=Words("other gates at the second call"),
        got=second,
        example={"logits": logits, "top_k": 2, "training": True},
    )


def require_live_sum(trained: Any, given: dict[str, Any]) -> None:
    """Tell `torch.normal(mean, std)`, whose gradients are zeros, from a graph that was cut."""
    leaf = given["logits"].clone().requires_grad_()
    gates, _ = trained(leaf, given["noise_logits"])
    gradient = None
    if gates.requires_grad:
        (gradient,) = torch.autograd.grad(gates[:, 0].sum(), leaf, allow_unused=True)
    require(
        gradient is None or bool(gradient.any()),
        "In training the gates are connected with `logits`, and yet the gradient is zero "
        "everywhere.",
        cause="`torch.normal(mean, std)` does that: it hands nothing on to its mean and its "
        "spread.",
        cure="Draw standard normal numbers, multiply, add.",
        example=given,
    )
