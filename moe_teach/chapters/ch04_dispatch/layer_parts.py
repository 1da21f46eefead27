"""Exercise 4.7: a right part for each place in the layer, and the layer that they must make."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from moe_teach.chapters.ch04_dispatch.sort_dispatch import by_definition
from moe_teach.judging.exercise import generator
from moe_teach.types import Routing

OF_EXERCISE = {"route": "3.1", "expert": "4.1", "sort": "4.2", "mix": "4.3"}
WEIGHTS = ("router.weight", "w_gate", "w_up", "w_down")


def route(logits: Tensor, top_k: int, normalize_gates: bool = True) -> tuple[Tensor, Tensor]:
    """Softmax over all experts, the k most probable, and their gates."""
    gates, expert_ids = logits.float().softmax(dim=-1).topk(top_k, dim=-1)
    return gates / gates.sum(dim=-1, keepdim=True) if normalize_gates else gates, expert_ids


def expert(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """One SwiGLU expert; with an axis E in front of the matrices, all of them."""
    return (silu(x @ w_gate.mT) * (x @ w_up.mT)) @ w_down.mT


def mix(y: Tensor, gates: Tensor, slot: Tensor) -> Tensor:
    """Let each token collect its rows; a slot of -1 adds nothing.

    The result lies column by column in memory, as that of a reader's `mix` may.
    """
    rows = torch.cat([y, y.new_zeros(1, y.shape[1])])[slot]
    return (gates[..., None] * rows).sum(dim=1).T.contiguous().T


PARTS: dict[str, Callable[..., Any]] = {
    "route": route,
    "expert": expert,
    "sort": by_definition,
    "mix": mix,
}


def defined(x: Tensor, *weights: Tensor, top_k: int, normalize: bool) -> tuple[Tensor, Routing]:
    """What a layer with these weights says of x: every expert computes, the chosen are mixed."""
    tokens = x.reshape(-1, x.shape[-1]).float()
    router, *matrices = (weight.float() for weight in weights)
    logits = tokens @ router.T
    gates, ids = route(logits, top_k, normalize)
    chosen = expert(tokens, *matrices)[ids, torch.arange(len(tokens))[:, None]]  # (T, K, D)
    y = (gates[..., None] * chosen).sum(dim=1)
    return y.reshape(x.shape), Routing(logits, logits.softmax(dim=-1), gates, ids)


def weights_of(layer: nn.Module) -> list[Tensor]:
    """Give the four tensors of a layer, in the order of `WEIGHTS`."""
    return [layer.get_parameter(name) for name in WEIGHTS]


def near(got: Tensor, expected: Tensor, share: float = 1e-5) -> bool:
    """Compare against the largest number: sums of products cancel, and small ones mean little."""
    got, expected = got.detach().double(), expected.detach().double()
    return bool((got - expected).abs().max() <= share * (1 + expected.abs().max()))


def draw_weights(layer: nn.Module, seed: int) -> None:
    """Give the four tensors of a layer numbers that depend on the seed alone."""
    with torch.no_grad():
        for index, name in enumerate(WEIGHTS):
            weight = layer.get_parameter(name)
            drawn = torch.randn(weight.shape, generator=generator(seed + index))
            weight.copy_(drawn / weight.shape[-1] ** 0.5)


def draw_tokens(shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw tokens (..., D) whose numbers do not lie side by side in memory."""
    drawn = torch.randn(shape[::-1], generator=generator(seed))
    return drawn.permute(*range(drawn.dim() - 1, -1, -1))


def slips(x: Tensor, layer: nn.Module, top_k: int, normalize: bool) -> dict[str, Tensor]:
    """What the usual slips of an assembly compute, under the sentence that names each."""
    weights = [weight.detach() for weight in weights_of(layer)]
    router, w_gate, w_up, w_down = weights
    tokens = x.reshape(-1, x.shape[-1])
    y, record = defined(tokens, *weights, top_k=top_k, normalize=normalize)
    gates, ids = record.gates, record.expert_ids
    everyone = torch.arange(len(tokens))[:, None]
    chosen = expert(tokens, w_gate, w_up, w_down)[ids, everyone]
    _, slot, counts = by_definition(ids, torch.ones_like(ids, dtype=torch.bool), len(router))
    owner = torch.arange(len(router)).repeat_interleave(counts)
    in_order = tokens.repeat_interleave(top_k, dim=0)
    told = expert(in_order, w_gate, w_up, w_down)[owner, torch.arange(len(owner))]
    sorted_answers = torch.empty_like(told).index_copy(0, slot.flatten(), chosen.flatten(0, 1))
    swapped = expert(tokens, w_up, w_gate, w_down)[ids, everyone]
    found = {
        "The rows were given to the experts in the order of the tokens. Fetch them first: "
        "`tokens[token_idx]` is sorted by expert.": mix(told, gates, slot),
        "The answers were read in the order of the rows. `mix` needs `slot`, which leads each "
        "choice to its row.": mix(sorted_answers, gates, torch.arange(slot.numel()).view_as(slot)),
        "Every choice counts fully: the gates never reached `mix`.": chosen.sum(dim=1),
        "The gates stand beside other tokens than their own.": mix(
            chosen.flatten(0, 1), gates.roll(1, 0), torch.arange(slot.numel()).view_as(slot)
        ),
        "`w_gate` and `w_up` changed places: an expert takes w_gate, w_up, w_down.": (
            gates[..., None] * swapped
        ).sum(dim=1),
        "The layer adds x itself. The residual connection is the block's, in chapter 05.": y
        + tokens,
        "The gates always sum to 1. Hand `self.normalize_gates` on to `route`.": defined(
            tokens, *weights, top_k=top_k, normalize=True
        )[0],
        "The gates never sum to 1. Hand `self.normalize_gates` on to `route`.": defined(
            tokens, *weights, top_k=top_k, normalize=False
        )[0],
    }
    return {sentence: slip.reshape(x.shape) for sentence, slip in found.items()}


def explained(tried: list[tuple[Tensor, dict[str, Tensor]]]) -> str:
    """Name the slip that gives every wrong answer; in small cases several slips look alike."""
    return next(
        (said for said in tried[0][1] if all(near(got, slip[said]) for got, slip in tried)),
        "Is every choice of a token in its sum, once and with its own gate? Look at one token "
        "with two choices, and print what each part got and gave.",
    )
