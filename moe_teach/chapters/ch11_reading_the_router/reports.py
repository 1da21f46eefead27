"""Chapter 11, exercise 11.5: audit reports of other people, with one claim that may be false."""

from dataclasses import dataclass

import torch
from torch import Tensor

from moe_teach.analysis.specialisation.nulls import permuted
from moe_teach.chapters.ch11_reading_the_router.bits import information
from moe_teach.chapters.ch11_reading_the_router.inputs import some_routes
from moe_teach.judging.exercise import generator

N_TOKENS, N_EXPERTS, N_DOMAINS, DEALS = 240, 6, 3, 8
CLAIMS = ("load", "information", "null", "drops", "needed")
FAULTS = {
    "last batch": "load",
    "first choice": "load",
    "nats": "information",
    "over everything": "null",
    "of all": "drops",
    "busiest": "needed",
    "all tokens alike": "needed",
}
"""What somebody did -> the claim that it makes false."""


@dataclass(frozen=True, eq=False)
class Report:
    """The data of an audit, and what its author claims; T tokens, K choices, E experts, D domains.

    `damage` holds nats: what a domain loses without an expert.
    """

    expert_ids: Tensor  # (T, K)
    tokens: Tensor  # (T,)
    domains: Tensor  # (T,)
    batches: Tensor  # (T,), the batch in which each token was measured
    kept: Tensor  # (T, K), False where a capacity dropped the choice
    damage: Tensor  # (E, D)
    load: tuple[float, ...]  # claimed, as are all that follow
    information: float
    null: float
    drops: tuple[float, ...]
    needed: int


def report_of(fault: str, seed: int) -> Report:
    """Draw the data of an audit and write its claims with one of `FAULTS`, or "" for none.

    Data on which the fault would not show are drawn again.
    """
    claim = FAULTS.get(fault, "")
    for again in range(100):
        data = _data(1000 * seed + again)
        false = {claim: _CLAIMS[claim](data, fault)} if claim else {}
        if not claim or apart(_CLAIMS[claim](data, ""), false[claim]):
            true = {name: say(data, "") for name, say in _CLAIMS.items() if name != claim}
            return Report(**data, **true, **false)
    raise RuntimeError(f"No data on which {fault!r} shows, from seed {seed}.")


def apart(one: object, other: object) -> bool:
    """Tell whether two values of a claim differ by more than twice what is allowed."""
    pair = [torch.as_tensor(value, dtype=torch.float64) for value in (one, other)]
    return bool((pair[0] - pair[1]).abs().max() > 0.06)


def _data(seed: int) -> dict[str, Tensor]:
    random, n_tokens, n_away = generator(seed), N_TOKENS, 60
    drawn = some_routes(seed, n_tokens + n_away, n_experts=N_EXPERTS, n_ids=9, beyond=0.7)
    # The first domain is small, so that it matters how domains are weighed, and the last batch
    # holds the last domain alone.
    order = drawn.domains.argsort(stable=True)[n_away:]
    domains = drawn.domains[order]
    chance = 0.6 * torch.rand(N_DOMAINS, generator=random)
    return {
        "expert_ids": drawn.expert_ids[order],
        "tokens": drawn.tokens[order],
        "domains": domains,
        "batches": torch.arange(n_tokens) // 50,
        "kept": torch.rand(n_tokens, 2, generator=random) >= chance[domains][:, None],
        "damage": torch.rand(N_EXPERTS, N_DOMAINS, generator=random) ** 3,
    }


def _load(data: dict[str, Tensor], fault: str) -> tuple[float, ...]:
    ids = data["expert_ids"]
    counted = ids[data["batches"] == data["batches"].max()] if fault == "last batch" else ids
    counted = counted[:, :1] if fault == "first choice" else counted
    load = torch.bincount(counted.flatten(), minlength=N_EXPERTS) / counted.numel()
    return tuple(round(share, 3) for share in load.tolist())


def _information(data: dict[str, Tensor], fault: str) -> float:
    slip = fault if fault == "nats" else ""
    return round(information(data["expert_ids"], data["domains"], slip=slip), 3)


def _null(data: dict[str, Tensor], fault: str) -> float:
    return round(null_of(data, everything=fault == "over everything"), 3)


def _drops(data: dict[str, Tensor], fault: str) -> tuple[float, ...]:
    domains, dropped = data["domains"], ~data["kept"]
    own = [dropped[domains == d] for d in range(N_DOMAINS)]
    whole = dropped.numel() if fault == "of all" else 0
    return tuple(round(part.sum().item() / (whole or part.numel()), 3) for part in own)


def null_of(data: dict[str, Tensor], *, everything: bool = False) -> float:
    """Return the mean of I(expert; domain) over domains dealt anew within the token."""
    random, domains, tokens = generator(0), data["domains"], data["tokens"]
    given = torch.zeros_like(tokens) if everything else tokens
    total = 0.0
    for _ in range(DEALS):
        total += information(data["expert_ids"], permuted(domains, random, given))
    return total / DEALS


def _needed(data: dict[str, Tensor], fault: str) -> int:
    if fault == "busiest":
        return int(torch.bincount(data["expert_ids"].flatten(), minlength=N_EXPERTS).argmax())
    weights = torch.ones(N_DOMAINS)
    if fault == "all tokens alike":
        weights = torch.bincount(data["domains"], minlength=N_DOMAINS).float()
    return int((data["damage"] @ weights).argmax())


_CLAIMS = {
    "load": _load,
    "information": _information,
    "null": _null,
    "drops": _drops,
    "needed": _needed,
}
