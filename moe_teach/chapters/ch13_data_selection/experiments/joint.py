"""Chapter 13: pairs of names chosen one by one or jointly, on a clean stream and a noisy one."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moe_teach.chapters.ch13_data_selection.experiments.towers import (
    Matcher,
    forward_flops,
    matched,
    pair_losses,
    seeded_matcher,
)
from moe_teach.data.pairs import WIDTH, NameTable, Pairs, name_pairs
from moe_teach.data.selection.choosing import choose_independently, choose_jointly, n_candidates
from moe_teach.seeding import mixed
from moe_teach.train.horizons import Horizon, chosen, search

BATCH, FILTER, CHUNKS, SCALE = 24, 0.8, 8, 4.0
REFERENCE_STEPS, REFERENCE_SEED = 600, 100
N_POINTS = 10
JUNK = 0.6

How = Literal["uniform", "independent", "joint", "mixed up", "easy", "hard"]


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How a batch of pairs is chosen, and from what.

    "mixed up" is the control of "joint": chunks are chosen given pairs that were *not* chosen, as
    many, at random. What it gains is not gained by knowing who else is in the batch.
    """

    how: How = "uniform"
    junk: float = JUNK


COMPARED: Mapping[str, Matching] = MappingProxyType(
    {
        f"{how}, {kind}": Matching(how=how, junk=junk)
        for kind, junk in (("junk", JUNK), ("clean", 0.0))
        for how in ("uniform", "independent", "joint", "mixed up", "easy", "hard")
    }
)
RATES = (0.001, 0.002, 0.004, 0.008)
LENGTHS = (200, 600, 2000)
LASTING = {
    name: COMPARED[name] for name in COMPARED if name.startswith(("uniform", "indep", "joint"))
}
"""What is compared at three and at ten times the length, too."""
SEARCHED = search(COMPARED, LENGTHS[:1], RATES) | search(LASTING, LENGTHS[1:2], RATES)
_SHORTEST = (
    dict.fromkeys(COMPARED, 0.004)
    | dict.fromkeys(
        ("uniform, junk", "easy, junk", "uniform, clean", "joint, clean", "easy, clean"), 0.002
    )
    | {"hard, junk": 0.008}
)
BEST: Mapping[int, Mapping[str, float]] = MappingProxyType(
    {200: _SHORTEST, 600: {name: _SHORTEST[name] for name in LASTING} | {"joint, clean": 0.004}}
)
"""The best of four rates of `13_joint_rates`; ten times the length takes over that of three."""
SHORT = chosen(COMPARED, {200: BEST[200]})
LONGER = chosen(LASTING, {600: BEST[600]})
LONGEST = chosen(LASTING, {2000: BEST[600]})


@cache
def _tables() -> tuple[NameTable, NameTable]:
    return name_pairs("train"), name_pairs("validation")


@cache
def asked() -> tuple[Pairs, ...]:
    """Return held-back names, every one once in each set, in other languages each time."""
    table = _tables()[1]
    return tuple(table.draw(len(table.names), seed=1, step=step) for step in range(5))


@cache
def reference() -> Matcher:
    """Train the reference on clean pairs of training names; its pairs are not the stream's."""
    matcher = seeded_matcher(REFERENCE_SEED)
    optimizer = torch.optim.AdamW(matcher.parameters(), lr=2e-3)
    with torch.enable_grad():  # whoever scores first asks for it where nothing is learned
        for step in range(REFERENCE_STEPS):
            _learn(matcher, optimizer, _tables()[0].draw(BATCH, seed=REFERENCE_SEED, step=step))
    return matcher.eval()


def measure_matching(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Train one matcher; give its curve over steps, operations and seconds."""
    setting: Matching = horizon.setting
    asked(), reference()  # made once for all runs, so their time is nobody's
    matcher = seeded_matcher(seed)
    optimizer = torch.optim.AdamW(matcher.parameters(), lr=horizon.lr, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, horizon.steps)
    marks = {round(horizon.steps * (i + 1) / N_POINTS) for i in range(N_POINTS)}
    found: dict[str, list[float]] = {"steps": [], "matched": [], "cpu_seconds": []}
    worked, true = 0.0, 0
    for step in range(horizon.steps):
        begin = time.process_time()
        batch = chosen_pairs(setting, matcher, seed, step)
        _learn(matcher, optimizer, batch)
        schedule.step()
        worked += time.process_time() - begin
        true += int(batch.is_true.sum())
        if step + 1 in marks:
            found["steps"].append(step + 1)
            found["matched"].append(_accuracy(matcher))
            found["cpu_seconds"].append(round(worked, 2))
    return {
        **found,
        "final": found["matched"][-1],
        "true_share": round(true / (BATCH * horizon.steps), 4),
        "flops_per_step": flops_per_step(setting.how),
        "reference_flops": REFERENCE_STEPS * flops_per_step("uniform"),
    }


def chosen_pairs(setting: Matching, matcher: Matcher, seed: int, step: int) -> Pairs:
    """Return the pairs of a step, a function of the weights, the seed and the step."""
    n = BATCH if setting.how == "uniform" else n_candidates(BATCH, FILTER)
    candidates = _tables()[0].draw(n, junk=setting.junk, seed=seed, step=step)
    if setting.how == "uniform":
        return candidates
    drawn = torch.Generator().manual_seed(mixed(seed, step))
    return candidates.only(_places(setting.how, matcher, candidates, drawn))


@torch.no_grad()
def _places(
    how: How, matcher: Matcher, candidates: Pairs, drawn: torch.Generator
) -> Int[Tensor, " n"]:
    theirs = pair_losses(reference()(candidates)) if how != "hard" else None
    if how == "easy":
        return choose_independently(-theirs.diagonal(), BATCH, drawn, scale=SCALE)
    ours = pair_losses(matcher(candidates))
    if how == "hard":
        return choose_independently(ours.diagonal(), BATCH, drawn, scale=SCALE)
    scores = ours - theirs
    if how == "independent":
        return choose_independently(scores.diagonal(), BATCH, drawn, scale=SCALE)
    if how == "mixed up":
        scores = _given_others(scores, drawn)
    return choose_jointly(scores, BATCH, CHUNKS, drawn, scale=SCALE)


def _given_others(scores: Float[Tensor, "n n"], drawn: torch.Generator) -> Float[Tensor, "n n"]:
    """Give each pair the interactions of another one: as large, and of no meaning for it."""
    order = torch.randperm(len(scores), generator=drawn)
    elsewhere = scores[order][:, order]
    own = torch.eye(len(scores), dtype=torch.bool)
    return torch.where(own, scores, elsewhere)


def _learn(matcher: Matcher, optimizer: torch.optim.Optimizer, batch: Pairs) -> None:
    optimizer.zero_grad()
    (pair_losses(matcher(batch)).sum() / len(batch)).backward()
    optimizer.step()


def _accuracy(matcher: Matcher) -> float:
    shares = [matched(matcher, pairs) for pairs in asked()]
    return round(sum(shares) / len(shares), 4)


def flops_per_step(how: How) -> int:
    """Return the floating-point operations of one step, scoring included."""
    scored = {"uniform": 0, "easy": 1, "hard": 1}.get(how, 2)
    n = n_candidates(BATCH, FILTER)
    return 3 * forward_flops(BATCH, WIDTH) + scored * forward_flops(n, WIDTH)
