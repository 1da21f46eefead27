"""What the cache replay sends to the browser: traces and guesses as bytes, and back again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.deploy.store.foresight import Forecast, as_before
from moe_teach.deploy.store.trace import Trace, drawn

MOST_EXPERTS, MOST_TOKENS = 32, 512  # more could not be told apart, or would make a heavy page
_NOBODY = 255  # where nobody was guessed

Forecasts = Mapping[str, Sequence[Forecast]]


def packed(
    traces: Mapping[str, Trace], profiles: Mapping[str, Trace], forecasts: Forecasts | None
) -> dict[str, Any]:
    """Give the traits that hold traces, guesses and profiles.

    Raises:
        ValueError: what cannot be drawn (see `CacheReplay.of`).
    """
    ahead = {name: list((forecasts or {}).get(name, ())) for name in traces}
    _demand_drawable(traces, profiles, ahead)
    first = next(iter(traces.values()))
    return {
        "traces": [{"name": name, "n_tokens": len(each)} for name, each in traces.items()],
        "choices": b"".join(_as_bytes(each.expert_ids) for each in traces.values()),
        "guesses": b"".join(
            _as_bytes(torch.stack([each.expert_ids for each in own], dim=2))
            for own in ahead.values()
            if own
        ),
        "profiles": [{"name": name, "counts": _counts(each)} for name, each in profiles.items()],
        "n_layers": first.n_layers,
        "n_experts": first.n_experts,
        "top_k": first.expert_ids.shape[2],
        "farthest": len(next(iter(ahead.values()))),
    }


def trace_of(
    data: bytes, before: int, n_tokens: int, shape: tuple[int, int], n_experts: int
) -> Any:
    """Read the trace of `n_tokens` that comes after `before` others; shape is (L, K)."""
    ids = _numbers(data, before, n_tokens, shape)
    return Trace(ids, torch.arange(n_tokens), torch.full((n_tokens,), -1), n_experts)


def forecast_of(
    data: bytes, before: int, n_tokens: int, shape: tuple[int, int, int], distance: int
) -> Forecast:
    """Read the guesses `distance` layers ahead for the same tokens; shape is (L, farthest, K)."""
    ids = _numbers(data, before, n_tokens, shape)[:, :, distance - 1]
    return Forecast(ids.masked_fill(ids == _NOBODY, -1), distance)


def example() -> tuple[dict[str, Trace], dict[str, Trace], dict[str, list[Forecast]]]:
    """Draw two texts, each with favourites of its own; the token before is the guess."""
    texts = {name: drawn(96, 3, 8, 2, skew=1.2, seed=seed) for seed, name in enumerate("AB")}
    traces = {f"text {name}": trace for name, trace in texts.items()}
    guesses = {name: [as_before(trace, d) for d in (1, 2)] for name, trace in traces.items()}
    return traces, traces, guesses


def _numbers(data: bytes, before: int, n_tokens: int, shape: tuple[int, ...]) -> Tensor:
    each = int(np.prod(shape))
    flat = np.frombuffer(data, np.uint8)[before * each : (before + n_tokens) * each]
    return torch.from_numpy(flat.astype(np.int64)).view(n_tokens, *shape)


def _as_bytes(ids: Tensor) -> bytes:
    return ids.masked_fill(ids < 0, _NOBODY).to(torch.uint8).contiguous().numpy().tobytes()


def _counts(trace: Trace) -> list[int]:
    """Count each expert's choices, layer by layer."""
    own = [ids.flatten().bincount(minlength=trace.n_experts) for ids in trace.expert_ids.unbind(1)]
    return torch.cat(own).tolist()


def _demand_drawable(
    traces: Mapping[str, Trace],
    profiles: Mapping[str, Trace],
    ahead: Mapping[str, Sequence[Forecast]],
) -> None:
    refuse(not traces or not profiles, "Give at least one trace and one profile to pin by.")
    every = [*traces.values(), *profiles.values()]
    shapes = {(*each.expert_ids.shape[1:], each.n_experts) for each in every}
    refuse(len(shapes) > 1, "Traces and profiles must come from one model: their shapes differ.")
    refuse(
        any(each.n_steps < len(each) for each in traces.values()),
        "The replay shows one token a step: mix several users with `taking_turns`.",
    )
    longest, n_experts = max(map(len, traces.values())), every[0].n_experts
    refuse(
        longest > MOST_TOKENS or n_experts > MOST_EXPERTS,
        f"The replay has room for {MOST_EXPERTS} experts and {MOST_TOKENS} tokens, not for "
        f"{n_experts} and {longest}: cut with `trace.first({MOST_TOKENS})`.",
    )
    fitting = all(
        [guess.distance for guess in own] == list(range(1, len(own) + 1))
        and all(guess.expert_ids.shape == traces[name].expert_ids.shape for guess in own)
        for name, own in ahead.items()
    )
    refuse(
        not fitting or len({len(own) for own in ahead.values()}) > 1,
        "Every trace needs the same forecasts: 1, 2, 3 ... layers ahead, with as many guesses for "
        "a token as it has choices.",
    )
