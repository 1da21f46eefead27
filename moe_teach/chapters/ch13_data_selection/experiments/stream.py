"""Chapter 13: a language model on a stream with junk in it, and on a clean one, by four rules."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from moe_teach.cost.compute import training_flops
from moe_teach.data.batches import Batch, Batches, evaluation_batches
from moe_teach.data.corpus import DOMAINS
from moe_teach.data.domain_bytes import domain_bytes
from moe_teach.data.selection.choosing import n_candidates
from moe_teach.nn.model import Model
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.horizons import Horizon, chosen, search
from moe_teach.train.loop import Trainer
from moe_teach.train.seeding import seeded_model
from moe_teach.train.selector import Rule, ScoreSelector, scoring_flops, selected
from moe_teach.train.small_model import small_config

BATCH, LENGTH, WINDOWS = 8, 64, 16  # rows and bytes of a step; held-back windows of each domain
REFERENCE_STEPS, REFERENCE_SEED = 250, 100
JUNK = 0.6
N_POINTS = 10  # of a curve
CONFIG = small_config(d_ff_dense=128)


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What comes along and how it is chosen from: the rule None takes what comes."""

    rule: Rule | None = None
    junk: float = JUNK
    filter_ratio: float = 0.8
    reference_steps: ClassVar[int] = REFERENCE_STEPS

    @property
    def n_candidates(self) -> int:
        """How many rows are looked at for each step."""
        return n_candidates(BATCH, self.filter_ratio) if self.rule else BATCH


@dataclass(frozen=True, kw_only=True)
class LongReference(Stream):
    """The same with a reference that learned for longer, as long as the longest runs."""

    reference_steps: int = 2500


RULES: Mapping[str, Rule | None] = MappingProxyType(
    {"uniform": None, "learnability": "learnability", "easy": "easy", "hard": "hard"}
)


@cache
def _texts() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the bytes of both sides, the training side with two kinds of junk beside it."""
    clean, held_back = domain_bytes()
    train = dict(clean)
    drawn = torch.Generator().manual_seed(0)
    n = 400_000
    some = torch.cat([ids[: n // len(DOMAINS)] for ids in train.values()])
    train["shuffled"] = some[torch.randperm(len(some), generator=drawn)]
    train["random"] = torch.randint(0, 256, (n,), generator=drawn, dtype=some.dtype)
    return train, dict(held_back)


def stream(junk: float, n_rows: int, seed: int) -> Batches:
    """Return a stream whose rows are junk with this share, half shuffled bytes and half random."""
    train, _ = _texts()
    shares = dict.fromkeys(DOMAINS, (1 - junk) / len(DOMAINS))
    shares |= {"shuffled": junk / 2, "random": junk / 2} if junk else {}
    return Batches({name: train[name] for name in shares}, n_rows, LENGTH, seed, shares)


@cache
def held_back() -> list[Batch]:
    """Return clean text that no run learns from, the same for all."""
    return evaluation_batches(_texts()[1], 64, LENGTH, WINDOWS)


@cache
def reference(steps: int = REFERENCE_STEPS) -> Model:
    """Train the reference: the same model, on clean text, as long as the shortest run."""
    model = seeded_model(CONFIG, REFERENCE_SEED)
    config = _config(steps, 4e-3, REFERENCE_SEED)
    trainer, batches = Trainer(model, config), stream(0.0, BATCH, REFERENCE_SEED)
    with torch.enable_grad():  # whoever scores first asks for it where nothing is learned
        for step in range(config.steps):
            trainer.advance(batches.at(step))
    return model.eval()


def measure_stream(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Train one model and give its curve: loss on clean text over steps, FLOPs and seconds.

    Choosing is timed and counted with the step; the reference's training is not in it, since one
    reference serves all runs: `reference_flops` says what it took.
    """
    setting: Stream = horizon.setting
    config = _config(horizon.steps, horizon.lr, seed)
    model = seeded_model(CONFIG, seed)
    batches = stream(setting.junk, setting.n_candidates, seed)
    selector = _selector(setting, seed)
    trainer = Trainer(model, config)
    marks = {round(horizon.steps * (i + 1) / N_POINTS) for i in range(N_POINTS)}
    found: dict[str, list[float]] = {"steps": [], "loss": [], "cpu_seconds": []}
    worked, clean = 0.0, 0
    for step in range(horizon.steps):
        begin = time.process_time()
        batch = batches.at(step)
        if selector is not None:
            batch = selected(selector, model, batch, BATCH, step)
        trainer.advance(batch)
        worked += time.process_time() - begin
        clean += int((batch.domain_ids < len(DOMAINS)).sum())
        if step + 1 in marks:
            found["steps"].append(step + 1)
            found["loss"].append(round(evaluate(model, held_back()).loss, 4))
            found["cpu_seconds"].append(round(worked, 2))
    return {
        **found,
        "final": found["loss"][-1],
        "clean_share": round(clean / (BATCH * horizon.steps), 4),
        "flops_per_step": flops_per_step(setting),
        "reference_flops": setting.reference_steps * flops_per_step(Stream()),
    }


def flops_per_step(setting: Stream) -> int:
    """Return the floating-point operations of one step, scoring included."""
    learning = training_flops(CONFIG, LENGTH // 2) * BATCH * LENGTH
    if setting.rule is None:
        return learning
    return learning + setting.n_candidates * scoring_flops(setting.rule, CONFIG, CONFIG, LENGTH)


def _selector(setting: Stream, seed: int) -> ScoreSelector | None:
    if setting.rule is None:
        return None
    return ScoreSelector(
        setting.rule, setting.n_candidates, reference(setting.reference_steps), seed=seed
    )


def _config(steps: int, lr: float, seed: int) -> TrainConfig:
    return TrainConfig(steps=steps, batch_size=BATCH, seq_len=LENGTH, lr=lr, seed=seed)


def settings_of(junk: float, rules: tuple[str, ...]) -> dict[str, Stream]:
    """Name the rules on one kind of stream: "learnability, junk" or "uniform, clean"."""
    kind = "junk" if junk else "clean"
    plain = Stream(junk=junk)
    return {f"{name}, {kind}": replace(plain, rule=RULES[name]) for name in rules}


RATES = (0.002, 0.004, 0.008, 0.016)
COMPARED = settings_of(JUNK, tuple(RULES)) | settings_of(0.0, ("uniform", "learnability"))
LASTING = {name: COMPARED[name] for name in COMPARED if name.startswith(("uniform", "learn"))}
"""What is compared at three and at ten times the length, too."""
LENGTHS = (250, 750, 2500)
SEARCHED = search(COMPARED, LENGTHS[:1], RATES) | search(LASTING, LENGTHS[1:2], RATES)
_SHORTEST = dict.fromkeys(COMPARED, 0.004) | {"hard, junk": 0.008, "learnability, clean": 0.008}
BEST: Mapping[int, Mapping[str, float]] = MappingProxyType(
    {250: _SHORTEST, 750: dict.fromkeys(LASTING, 0.004)}
)
"""The best of four rates of `13_stream_rates`; ten times the length takes over that of three."""
SHORT = chosen(COMPARED, {250: BEST[250]})
LONGER = chosen(LASTING, {750: BEST[750]})
LONGEST = chosen(LASTING, {2500: BEST[750]})
FILTERS = {
    f"filter {ratio:.0%}": Horizon(
        f"filter {ratio:.0%}", Stream(rule="learnability", filter_ratio=ratio), LENGTHS[0], 0.004
    )
    for ratio in (0.5, 0.8, 0.9)
}
LONG_REFERENCE = {
    f"{kind}, 2500 steps": Horizon(
        kind,
        LongReference(rule="learnability", junk=junk),
        2500,
        BEST[750][f"learnability, {kind}"],
    )
    for kind, junk in (("clean", 0.0), ("junk", JUNK))
}
"""The control of "the longer runs leave the reference behind": one that they do not."""
