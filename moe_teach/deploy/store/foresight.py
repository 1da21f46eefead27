"""Guessing early whom a layer will want, so that reading can begin before it asks.

The guess runs a router ahead of its time, on the residual stream as it enters an earlier layer's
feed-forward (Eliseev and Mazur 2023, arXiv 2312.17238, section 3.2, at distance 1). What the
layers between add to the stream is missing from it; residual streams change slowly. The control
guesses everybody's favourites without looking at the token.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.deploy.store.trace import Trace, demand_decodable
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE
from moe_teach.types import Routing


@dataclass(frozen=True, eq=False)
class Forecast:
    """For each of T tokens and L layers, G guesses, the surest first, and how early they are made.

    A guess for layer l is made in layer l - `distance`; the first `distance` layers get none, and
    their row holds -1.
    """

    expert_ids: Int[Tensor, "T L G"]
    distance: int

    def recall(self, trace: Trace) -> Float[Tensor, " L"]:
        """Return the share of each layer's choices that was among the guesses; NaN without any."""
        _demand_same(self, trace)
        guessed = self.expert_ids[:, :, None, :] == trace.expert_ids[..., None]  # (T, L, K, G)
        shares = guessed.any(-1).float().mean((0, 2))
        shares[: self.distance] = torch.nan
        return shares

    def guesses(self, trace: Trace) -> dict[tuple[int, int], list[int]]:
        """Return the guesses of each (step, layer): the surest first, each once."""
        _demand_same(self, trace)
        steps, counts = trace.step.unique_consecutive(return_counts=True)
        found = {}
        for step, tokens in zip(
            steps.tolist(), self.expert_ids.split(counts.tolist()), strict=True
        ):
            for layer, own in enumerate(tokens.permute(1, 2, 0).flatten(1).tolist()):
                found[step, layer] = [expert for expert in dict.fromkeys(own) if expert >= 0]
        return found


def _demand_same(forecast: Forecast, trace: Trace) -> None:
    guessed, chosen = forecast.expert_ids.shape[:2], trace.expert_ids.shape[:2]
    refuse(
        guessed != chosen,
        f"The forecast is about {tuple(guessed)} tokens and layers, the trace {tuple(chosen)}: "
        "both must come from one model and text.",
    )


class Foresight:
    """Runs the routers of later layers on what an earlier one sees.

    Args:
        model: one with MoE layers.
        distance: how many MoE layers ahead, at least 1.
        n_guesses: how many experts to name for each token; by default as many as it will choose.

    Raises:
        ValueError: there is no layer that far up.
    """

    def __init__(self, model: Model, distance: int = 1, n_guesses: int | None = None) -> None:
        self.blocks = [block for block in model.blocks if isinstance(block.ffn, MoE)]
        refuse(
            not 1 <= distance < len(self.blocks),
            f"distance is {distance}, but a guess looks from one MoE layer to a later one, and "
            f"there are {len(self.blocks)}: choose 1 to {len(self.blocks) - 1}.",
        )
        self.distance = distance
        self.n_guesses = n_guesses

    @contextmanager
    def watching(self, hear: Callable[[int, Tensor], None]) -> Iterator[None]:
        """While the model runs, call `hear(layer, guesses)`, the guesses (T, G) by their surety.

        `layer` is the MoE layer they are about. It is called when layer - distance is about to
        route.
        """
        with ExitStack() as hooks:
            for layer in range(len(self.blocks) - self.distance):
                listener = _Listener(self, layer, hear)
                block = self.blocks[layer]
                hooks.callback(block.ffn_norm.register_forward_pre_hook(listener.see).remove)
                hooks.callback(block.ffn.register_forward_pre_hook(listener.tell).remove)
            yield

    @torch.no_grad()
    def guess(self, layer: int, x: Tensor, token_ids: Tensor | None) -> Int[Tensor, "T G"]:
        """Guess for an MoE layer from a residual stream x (..., D) that is not yet its own."""
        block = self.blocks[layer]
        h = block.ffn_norm(x).reshape(-1, x.shape[-1])
        routing = block.ffn.router(h, None if token_ids is None else token_ids.reshape(-1))
        return favourites(routing, self.n_guesses or routing.top_k)


class _Listener:
    """Two hooks of one layer: the first sees the stream, the second knows the tokens."""

    def __init__(self, foresight: Foresight, layer: int, hear: Callable) -> None:
        self.foresight, self.hear = foresight, hear
        self.target = layer + foresight.distance
        self.x: Tensor | None = None

    def see(self, _: nn.Module, inputs: tuple) -> None:
        self.x = inputs[0]

    def tell(self, _: nn.Module, inputs: tuple) -> None:
        self.hear(self.target, self.foresight.guess(self.target, self.x, *inputs[1:]))


def favourites(routing: Routing, n_guesses: int) -> Int[Tensor, "T G"]:
    """Name the experts a router likes best: those it chose, then the next by probability."""
    refuse(
        not 1 <= n_guesses <= routing.n_experts,
        f"Of {routing.n_experts} experts, {n_guesses} cannot be guessed.",
    )
    surety = routing.probs / routing.probs.amax(-1, keepdim=True).clamp_min(1e-30)
    chosen = torch.zeros_like(surety).scatter_(-1, routing.expert_ids, 1.0)
    return (surety + chosen).topk(n_guesses, dim=-1).indices


def forecast(
    model: Model, token_ids: Int[Tensor, " T"], distance: int = 1, n_guesses: int | None = None
) -> Forecast:
    """Guess for a whole text, in the windows that `record_trace` reads; arguments as `Foresight`.

    Raises:
        ValueError: there is no layer that far up, or routing depends on the batch.
    """
    demand_decodable(model)
    foresight = Foresight(model, distance, n_guesses)
    heard: list[list[Tensor]] = [[] for _ in foresight.blocks]
    with in_evaluation(model), foresight.watching(lambda layer, ids: heard[layer].append(ids)):
        for window in token_ids.split(model.config.max_seq_len):
            with torch.no_grad():
                model(window[None])
    about = [torch.cat(own).cpu() for own in heard[distance:]]
    nothing = torch.full_like(about[0], -1)
    return Forecast(torch.stack([nothing] * distance + about, dim=1), distance)


def by_load(trace: Trace, profile: Trace, n_guesses: int, distance: int = 1) -> Forecast:
    """Guess the same for every token: the experts that a profile used most. The control."""
    favourite = profile.load().topk(n_guesses, dim=-1).indices  # (L, G)
    return _from_layer(favourite.expand(len(trace), -1, -1), distance)


def as_before(trace: Trace, distance: int = 1) -> Forecast:
    """Guess for every token whom the one before it chose. Another control; the first has none."""
    nothing = torch.full_like(trace.expert_ids[:1], -1)
    return _from_layer(torch.cat([nothing, trace.expert_ids[:-1]]), distance)


def _from_layer(guesses: Tensor, distance: int) -> Forecast:
    """Take the guesses from the layers that nobody stands far enough below."""
    known = guesses.clone()
    known[:, :distance] = -1
    return Forecast(known, distance)
