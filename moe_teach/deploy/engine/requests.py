"""What goes into the engine and what comes out: requests, sampling, tokens."""

import math
from dataclasses import dataclass
from typing import Literal

from moe_teach.config import refuse

FinishReason = Literal["stop", "length", "cancelled"]
"""Why a request ended: a stop id was drawn, `max_tokens` were, or somebody cancelled it."""


Alternatives = tuple[tuple[int, float], ...]
"""Tokens and their log-probabilities, in nats, the likeliest first."""


class EngineFull(RuntimeError):
    """The queue is as long as it may be: ask again later."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen, and when to stop.

    Args:
        max_tokens: how many tokens to add at most, at least 1.
        temperature: 0 always takes the likeliest token; above 1 flattens the choice.
        top_k: choose among the k likeliest tokens only.
        top_p: choose among the likeliest tokens whose probabilities together reach `top_p`
            (Holtzman et al. 2020, arXiv 1904.09751), after `temperature` and `top_k`.
        seed: the same seed gives the same text, whatever else is being served.
        stop_ids: tokens after which the text ends; the one that ended it is still returned.
    """

    max_tokens: int = 64
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0
    stop_ids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        refuse(self.max_tokens < 1, f"max_tokens must be at least 1, but it is {self.max_tokens}.")
        refuse(
            not (math.isfinite(self.temperature) and self.temperature >= 0),
            f"temperature must be a number from 0 upwards, but it is {self.temperature}.",
        )
        refuse(
            self.top_k is not None and self.top_k < 1,
            f"top_k must be at least 1 (or None for all tokens), but it is {self.top_k}.",
        )
        refuse(
            not 0 < self.top_p <= 1,
            f"top_p must lie above 0 and be at most 1, but it is {self.top_p}.",
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """A text to continue. `id` must be new among the requests that wait or run.

    With `trace`, every token comes with the experts and gates that worked on it; with
    `n_alternatives`, also with so many of the likeliest tokens in its place.
    """

    id: str
    prompt: tuple[int, ...]
    sampling: Sampling = Sampling()
    trace: bool = False
    n_alternatives: int = 0

    def __post_init__(self) -> None:
        refuse(
            len(self.prompt) == 0,
            f"Request {self.id!r} has an empty prompt: give at least one token to continue.",
        )
        refuse(
            self.n_alternatives < 0,
            f"n_alternatives must not be negative, but it is {self.n_alternatives}.",
        )


@dataclass(frozen=True, kw_only=True)
class Token:
    """One new token of one request.

    Args:
        request_id: the request that it continues.
        index: its place among the new tokens, from 0.
        token_id: the token.
        logprob: its log-probability, in nats, under the model alone: before temperature, top-k
            and top-p.
        version: which weights predicted it; see `Engine.replace_expert`.
        finish: why the text ends here, or None where it goes on. A cancelled request returns no
            further token: "cancelled" is a reason that only the engine's counts know.
        experts: with `trace`, for each MoE layer the experts chosen at the position that
            predicted this token, best first.
        gates: their mixing weights, in the same order.
        alternatives: with `n_alternatives`, the likeliest tokens under the model alone, best
            first, each with its log-probability; the token itself is among them if it is likely
            enough. No more than the vocabulary holds.
    """

    request_id: str
    index: int
    token_id: int
    logprob: float
    version: int
    finish: FinishReason | None = None
    experts: tuple[tuple[int, ...], ...] | None = None
    gates: tuple[tuple[float, ...], ...] | None = None
    alternatives: Alternatives | None = None
