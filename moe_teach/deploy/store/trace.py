"""A trace: which experts a model wanted, token by token in the order of decoding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.nn.mode import in_evaluation
from moe_teach.nn.model import Model
from moe_teach.nn.moe import MoE


class Choice(NamedTuple):
    """What one token wanted in one layer, in plain numbers."""

    step: int
    token: int
    layer: int
    expert_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Trace:
    """Whom each of T tokens chose in each of L MoE layers, and in which step it was decoded.

    Tokens of one step go through the layers together, as a batch does; steps do not decrease.
    `token_ids` are what the tokens were (-1 where a trace was drawn and not recorded).
    """

    expert_ids: Int[Tensor, "T L K"]
    step: Int[Tensor, " T"]
    token_ids: Int[Tensor, " T"]
    n_experts: int

    def __post_init__(self) -> None:
        n_tokens = len(self.expert_ids)
        refuse(
            self.expert_ids.ndim != 3 or n_tokens == 0,
            "A trace holds at least one token, and its expert_ids are (tokens, layers, top_k); "
            f"they are {tuple(self.expert_ids.shape)}.",
        )
        refuse(
            self.step.shape != (n_tokens,) or self.token_ids.shape != (n_tokens,),
            f"step and token_ids must say one thing of each of the {n_tokens} tokens.",
        )
        refuse(bool((self.step.diff() < 0).any()), "Steps must not decrease from token to token.")
        low, high = (int(end) for end in self.expert_ids.aminmax())
        refuse(
            low < 0 or high >= self.n_experts,
            f"Expert ids must lie between 0 and {self.n_experts - 1}, but they reach from {low} "
            f"to {high}.",
        )

    def __len__(self) -> int:
        return len(self.expert_ids)

    @property
    def n_layers(self) -> int:
        """How many MoE layers the trace covers (L)."""
        return self.expert_ids.shape[1]

    @property
    def n_steps(self) -> int:
        """How many times the model was run."""
        return len(self.step.unique_consecutive())

    def requests(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Give (step, layer, experts wanted) in the order of decoding; each expert once."""
        rows = zip(self.step.tolist(), self.expert_ids.tolist(), strict=True)
        for step, tokens in groupby(rows, key=itemgetter(0)):
            layers = zip(*(layers for _, layers in tokens), strict=True)
            for layer, chosen in enumerate(layers):
                yield step, layer, tuple(sorted(set().union(*chosen)))

    def choices(self) -> Iterator[Choice]:
        """Give every choice as plain numbers, for a widget or a file."""
        for token, (step, layers) in enumerate(
            zip(self.step.tolist(), self.expert_ids.tolist(), strict=True)
        ):
            for layer, expert_ids in enumerate(layers):
                yield Choice(step, token, layer, tuple(expert_ids))

    def load(self) -> Float[Tensor, "L E"]:
        """Return the share of each layer's choices that falls on each expert; rows sum to 1."""
        counts = torch.stack(
            [own.flatten().bincount(minlength=self.n_experts) for own in self.expert_ids.unbind(1)]
        )
        return counts / counts.sum(-1, keepdim=True)

    def first(self, n_tokens: int) -> "Trace":
        """Return the first `n_tokens` of the trace."""
        kept = slice(0, n_tokens)
        return Trace(self.expert_ids[kept], self.step[kept], self.token_ids[kept], self.n_experts)


@torch.no_grad()
def record_trace(model: Model, token_ids: Int[Tensor, " T"]) -> Trace:
    """Record whom a model chooses for each token of a text, read as if it were decoded.

    Routing of a causal model does not depend on what follows, so one forward pass shows what
    token by token would be chosen. A text longer than `max_seq_len` is read in windows.

    Args:
        model: any with MoE layers whose tokens choose; left in the mode it was in.
        token_ids: the text.

    Raises:
        ValueError: there is no MoE layer, nothing to read, or a choice would depend on a batch.
    """
    demand_decodable(model)
    refuse(token_ids.numel() == 0, "There is nothing to trace: give at least one token.")
    parts = []
    with in_evaluation(model):
        for window in token_ids.split(model.config.max_seq_len):
            routings = model(window[None]).routings
            parts.append(torch.stack([routing.expert_ids for routing in routings], dim=1))
    n_experts = routings[0].n_experts
    return Trace(torch.cat(parts).cpu(), torch.arange(len(token_ids)), token_ids.cpu(), n_experts)


def demand_decodable(model: Model) -> None:
    """Refuse a model whose choices, made for a whole text at once, are not those of decoding."""
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    refuse(not layers, "This model has no MoE layer, so there is nothing to trace.")
    refuse(
        any(layer.drops for layer in layers),
        "With a capacity, what a token is given depends on the others in its batch, which is "
        "not so in decoding: set capacity_factor and capacity of every MoE layer to None before "
        "tracing.",
    )
    moe = model.config.moe
    refuse(
        moe is not None and moe.router.choice == "expert",
        "Here the experts choose among all tokens at once, so there is no order of decoding.",
    )


def taking_turns(traces: Sequence[Trace]) -> Trace:
    """Mix the traces of several users, one token of each in turn; as long as the shortest."""
    return _mixed(traces, together=False)


def in_one_batch(traces: Sequence[Trace]) -> Trace:
    """Decode several users' tokens together, one of each a step; as long as the shortest."""
    return _mixed(traces, together=True)


def _mixed(traces: Sequence[Trace], together: bool) -> Trace:
    refuse(not traces, "There is nothing to mix: give at least one trace.")
    shapes = {(trace.n_layers, trace.n_experts, trace.expert_ids.shape[2]) for trace in traces}
    refuse(len(shapes) > 1, "Only traces of one model can be mixed: their shapes differ.")
    n_steps, n_users = min(len(trace) for trace in traces), len(traces)
    expert_ids = torch.stack([trace.expert_ids[:n_steps] for trace in traces], dim=1).flatten(0, 1)
    token_ids = torch.stack([trace.token_ids[:n_steps] for trace in traces], dim=1).flatten()
    step = torch.arange(n_steps * n_users)
    return Trace(expert_ids, step // n_users if together else step, token_ids, traces[0].n_experts)


def shuffled(trace: Trace, seed: int = 0) -> Trace:
    """Put the tokens of a trace in random order: the load stays, what follows on what is gone."""
    order = torch.randperm(len(trace), generator=torch.Generator().manual_seed(seed))
    return Trace(trace.expert_ids[order], trace.step, trace.token_ids[order], trace.n_experts)


def drawn(
    n_tokens: int, n_layers: int, n_experts: int, top_k: int, *, skew: float = 0.0, seed: int = 0
) -> Trace:
    """Draw a trace without memory: every token chooses anew.

    Args:
        n_tokens: its length; one token a step.
        n_layers: MoE layers, each with a ranking of its own.
        n_experts: experts of each.
        top_k: different experts for each token.
        skew: 0 draws evenly; s draws the r-th favourite with a chance proportional to r^-s (Zipf).
        seed: the same seed gives the same trace.
    """
    random = torch.Generator().manual_seed(seed)
    chance = torch.arange(1, n_experts + 1, dtype=torch.float64) ** -skew
    layers = []
    for _ in range(n_layers):
        own = chance[torch.randperm(n_experts, generator=random)]
        layers.append(own.expand(n_tokens, -1).multinomial(top_k, generator=random))
    expert_ids = torch.stack(layers, dim=1)
    return Trace(expert_ids, torch.arange(n_tokens), torch.full((n_tokens,), -1), n_experts)
