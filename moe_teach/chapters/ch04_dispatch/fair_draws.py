"""Tells a fair shuffle from draws that only look like one."""

from typing import Any

import torch
from torch import Tensor

from moe_teach.judging.exercise import Words, generator, require


def crowd_of(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Send 24 tokens to one expert with 12 places; the second form is the one to be read."""
    crowd = {
        "expert_ids": torch.zeros(24, 1, dtype=torch.long),
        "gates": torch.rand(24, 1, generator=generator(seed)),
        "capacity": 12,
        "policy": "random",
    }
    return crowd, {
        "expert_ids": Words("24 tokens, all to expert 0"),
        "capacity": 12,
        "policy": "random",
    }


def require_fair(draws: Tensor, gates: Tensor, example: dict[str, Any]) -> None:
    """Reject draws (call, token) of half the tokens; every bound is five standard errors wide."""
    alike = torch.corrcoef(draws.T).nan_to_num(0.0).fill_diagonal_(0.0)
    require(
        bool((alike.abs() < 0.65).all()),
        "Some tokens always get their places together, or never.",
        cause="Only a starting point, a direction or a block was drawn, and the rest follows it.",
        cure="Shuffle *all* choices: `torch.randperm`.",
        example=example,
    )
    liked = draws[:, gates.argsort(descending=True)[:12]].mean().item()
    require(
        abs(liked - 0.5) < 0.08,
        "Under 'random' tokens with large gates get more places here.",
        cause="The random numbers are multiplied by the gates or compared with them; here the "
        "gates have no say.",
        cure="Draw the order alone: `torch.randperm`.",
        expected=Words("about 0.5 of the places for the 12 largest gates"),
        got=round(liked, 2),
        example=example,
    )
    front = draws[:, :12].mean().item()
    share = draws.mean(dim=0)
    require(
        abs(front - 0.5) < 0.08 and bool(((share - 0.5).abs() < 0.35).all()),
        "Under 'random' tokens have different chances. Over 64 draws, each should get a place "
        "about 32 times, and the first half of the batch half of the places.",
        cause="The batch was shuffled in parts, drawn with repetitions, or only sometimes.",
        cure="Give every order the same chance: `torch.randperm` of all choices.",
        expected=Words("about 0.5 of the places for the first half, and for each token"),
        got=Words(f"{front:.2f} for the first half, {share.min():.2f} to {share.max():.2f} each"),
        example=example,
    )
