"""Mistakes in loading a model, done to one that was loaded right: every tensor still fits."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from moe_teach.nn.block import Block
from moe_teach.nn.model import Model

Mistake = Callable[[Block], None]


@torch.no_grad()
def made(model: Model, mistake: Mistake) -> Model:
    """Give a copy of the model with a mistake in every block."""
    twin = copy.deepcopy(model)
    for block in twin.blocks:
        mistake(block)
    return twin


def nothing(block: Block) -> None:
    """As it was saved."""


def three_to_judge(model: Model) -> dict[str, Model]:
    """One model as it was saved, and two that somebody loaded wrong."""
    tried = {"A": gates_not_normalised, "B": nothing, "C": bias_forgotten}
    return {name: made(model, mistake) for name, mistake in tried.items()}


def _rule(block: Block, **changed: Any) -> None:
    router = block.ffn.router
    router.config = replace(router.config, **changed)


def topk_before_softmax(block: Block) -> None:
    """Top-k before the softmax."""
    _rule(block, topk_first=True)


def bias_forgotten(block: Block) -> None:
    """Selection bias forgotten."""
    block.ffn.router.expert_bias.zero_()


def scored_by_sigmoid(block: Block) -> None:
    """Sigmoid in place of the softmax."""
    _rule(block, score_fn="sigmoid")


def gates_not_normalised(block: Block) -> None:
    """Gates not normalised."""
    _rule(block, normalize_gates=False)


def one_expert_too_few(block: Block) -> None:
    """One expert too few."""
    _rule(block, top_k=block.ffn.router.config.top_k - 1)


def gate_and_up_swapped(block: Block) -> None:
    """Gate and up swapped."""
    experts = block.ffn.experts
    gate = experts.w_gate.clone()
    experts.w_gate.copy_(experts.w_up)
    experts.w_up.copy_(gate)


def experts_in_text_order(block: Block) -> None:
    """Experts in the order of their names."""
    order = sorted(range(len(block.ffn.experts.w_up)), key=str)  # 0, 1, 10, 11, ..., 2
    for matrix in block.ffn.experts.parameters():
        matrix.copy_(matrix[order].clone())


def rows_read_as_halves(block: Block) -> None:
    """Rows in turn, read as halves."""
    experts = block.ffn.experts
    in_turn = torch.stack([experts.w_gate, experts.w_up], dim=2).flatten(1, 2)
    gate, up = in_turn.chunk(2, dim=1)
    experts.w_gate.copy_(gate)
    experts.w_up.copy_(up)


def rotary_rows_in_pairs(block: Block) -> None:
    """Query and key rows in the other order."""
    attention = block.attention
    for proj in (attention.q_proj, attention.k_proj):
        proj.weight.copy_(_in_pairs(proj.weight, attention.config.d_head))


def _in_pairs(rows: Tensor, d_head: int) -> Tensor:
    """Lay the rows (H * d, D) as neighbours that were laid as halves."""
    heads = rows.unflatten(0, (-1, 2, d_head // 2))
    return heads.transpose(1, 2).flatten(0, 2).clone()


QUIET = (scored_by_sigmoid, gates_not_normalised, one_expert_too_few)
LOUD = (gate_and_up_swapped, rotary_rows_in_pairs, experts_in_text_order, rows_read_as_halves)
ALL: tuple[Mistake, ...] = (topk_before_softmax, bias_forgotten, *QUIET, *LOUD)
"""From the control, which is no mistake, to what hurts most."""


def called(mistake: Mistake) -> str:
    """What a figure calls it."""
    return (mistake.__doc__ or "").rstrip(".")
