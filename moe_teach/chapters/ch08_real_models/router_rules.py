"""Exercise 8.6: router rules, right ones and slips of them, seen through a keyhole."""

from collections import deque
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus

from moe_teach.judging.compare import is_tensor
from moe_teach.judging.exercise import generator

N_EXPERTS, N_WORDS = 8, 6
Rule = Callable[[Tensor], Tensor]


class Box(NamedTuple):
    """What stands around a router: a selection bias, and what each expert makes likely."""

    bias: Tensor  # (E,)
    answers: Tensor  # (E, V)
    residual: Tensor  # (V,)


Routed = tuple[Tensor, Tensor]  # gates (T, K), expert_ids (T, K)


def _softmax(logits: Tensor, box: Box, top_k: int, power: float | None = 1.0) -> Routed:
    gates, ids = logits.softmax(dim=-1).topk(top_k, dim=-1)
    return (gates / gates.norm(power, dim=-1, keepdim=True) if power else gates), ids


def _with_router_bias(logits: Tensor, box: Box, top_k: int) -> Routed:
    return _softmax(logits + box.bias, box, top_k)


def _biased(
    logits: Tensor,
    box: Box,
    score: Callable[[Tensor], Tensor] = torch.sigmoid,
    top_k: int = 3,
    *,
    groups: int = 0,
    normalise: bool = True,
    scale: float = 2.5,
    leaks: bool = False,
    chooses: bool = True,
    closed: float = -torch.inf,
) -> Routed:
    """Score, choose with the bias among the two best of four groups, weigh without it.

    `groups` says how many of its best experts make the worth of a group, 0 that there are none.
    """
    scores = score(logits)
    ranking = scores + box.bias if chooses else scores
    if groups:
        parts = ranking.unflatten(-1, (4, -1))
        best = parts.topk(groups, dim=-1).values.sum(dim=-1).topk(2, dim=-1).indices
        is_open = torch.zeros(parts.shape[:2], dtype=torch.bool).scatter(1, best, True)
        open_only = parts.masked_fill(~is_open[..., None], closed).flatten(1)
    else:
        open_only = ranking
    ids = open_only.topk(top_k, dim=-1).indices
    gates = (ranking if leaks else scores).gather(1, ids)
    gates = gates / gates.sum(dim=-1, keepdim=True) if normalise else gates
    return scale * gates, ids


def _root_softplus(logits: Tensor) -> Tensor:
    return softplus(logits).sqrt()


def _on_the_output(logits: Tensor, box: Box, rule: Callable[..., Routed]) -> Tensor:
    gates, ids = rule(logits, box)
    return (gates[..., None] * box.answers[ids]).sum(dim=1)


def _on_the_input(logits: Tensor, box: Box) -> Tensor:
    """Llama-4: a sigmoid of the best logit scales what the expert is given."""
    best, ids = logits.max(dim=-1)
    size = best.sigmoid()
    bent = size * silu(3 * size) / silu(torch.tensor(3.0))  # an expert is not linear
    return bent[:, None] * box.answers[ids]


ROUTERS: dict[str, Callable[..., Routed]] = {
    "softmax, 2 of 8, normalised (Mixtral)": partial(_softmax, top_k=2),
    "softmax, 2 of 8, raw (OLMoE)": partial(_softmax, top_k=2, power=None),
    "softmax, the best, raw (Switch)": partial(_softmax, top_k=1, power=None),
    "the best, gate 1": partial(_softmax, top_k=1),
    "softmax, 4 of 8, normalised (DBRX, Qwen3-MoE)": partial(_softmax, top_k=4),
    "softmax, 4 of 8, raw": partial(_softmax, top_k=4, power=None),
    "softmax, 4 of 8, divided by the 2-norm": partial(_softmax, top_k=4, power=2.0),
    "router with a bias, 4 of 8, softmax of the chosen (gpt-oss)": partial(
        _with_router_bias, top_k=4
    ),
    "sigmoid, bias, groups by their two best (DeepSeek-V3)": partial(_biased, groups=2),
    "the same, groups by their best": partial(_biased, groups=1),
    "the same, closed groups set to 0": partial(_biased, groups=2, closed=0.0),
    "sigmoid, bias, no groups (Kimi K2, GLM-4.5)": partial(_biased),
    "the same, bias in the gates": partial(_biased, leaks=True),
    "the same, no bias": partial(_biased, chooses=False),
    "the same, raw gates": partial(_biased, normalise=False),
    "the same, factor forgotten": partial(_biased, scale=1.0),
    "the same, raw gates, factor forgotten": partial(_biased, normalise=False, scale=1.0),
    "softmax, groups by their best, raw (DeepSeek-V2)": partial(
        _biased,
        score=partial(torch.softmax, dim=-1),
        groups=1,
        normalise=False,
        scale=1.0,
        chooses=False,
    ),
    "square root of softplus, bias (DeepSeek-V4)": partial(
        _biased, score=_root_softplus, scale=1.5
    ),
}
NAMES = (*ROUTERS, "sigmoid of the best, on the input (Llama-4)")


@cache
def drawn(seed: int) -> Box:
    """Draw what stands around the router, so that no two rules are the same behind it."""
    random = generator(seed)
    while True:
        bias = torch.randn(N_EXPERTS, generator=random) - 0.5
        answers = torch.randn(N_EXPERTS, N_WORDS, generator=random)
        box = Box(bias, answers, torch.randn(N_WORDS, generator=random))
        if _are_told_apart(behind(box), random):
            return box


def _are_told_apart(rules: list[Rule], random: torch.Generator) -> bool:
    """Ask whether any two rules part on one token of two hundred at least."""
    sizes = 3 * torch.rand(2000, 1, generator=random)
    logits = sizes * torch.randn(2000, N_EXPERTS, generator=random)
    words = torch.stack([rule(logits) for rule in rules])
    differ = (words[:, None] != words).float().mean(dim=-1)
    return bool((differ + torch.eye(len(rules)) > 0.005).all())


def behind(box: Box) -> list[Rule]:
    """Give a function for each of `NAMES`: logits (T, E) to the most likely word of each, (T,)."""

    def word(logits: Tensor, mixture: Callable[[Tensor, Box], Tensor]) -> Tensor:
        return (mixture(logits.float(), box) + box.residual).argmax(dim=-1)

    outputs = [partial(_on_the_output, rule=rule) for rule in ROUTERS.values()]
    return [partial(word, mixture=mixture) for mixture in (*outputs, _on_the_input)]


def recalling(rule: Rule, n_tables: int = 8) -> Rule:
    """Let a rule know its last words: who draws tokens by a seed asks the same for each model."""
    known: deque[tuple[Tensor, Tensor]] = deque(maxlen=n_tables)

    def words(logits: Tensor) -> Tensor:
        for table, said in known if is_tensor(logits) else ():
            if table.dtype == logits.dtype and table.equal(logits):
                return said.clone()
        said = rule(logits)
        known.append((logits.detach().clone(), said.clone()))
        return said

    return words
