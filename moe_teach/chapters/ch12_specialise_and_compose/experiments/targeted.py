"""Chapter 12: a new skill for the model that comes with the course, by training parts of it.

The base is one trained model, so a seed draws the sample of the new skill and the random experts,
and not another base.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from torch import Tensor

from moe_teach.chapters.ch12_specialise_and_compose.experiments.parts import RATES, anything
from moe_teach.chapters.ch12_specialise_and_compose.new_skill import SKILL, remainders
from moe_teach.compose.adapters import ExpertAdapters
from moe_teach.compose.relevance import (
    Experts,
    expert_relevance,
    least_relevant_experts,
    random_experts,
    relevant_experts,
)
from moe_teach.compose.trainable import is_expert, is_router, training_experts, training_only
from moe_teach.data.batches import Batches, evaluation_batches
from moe_teach.data.corpus import DOMAINS, build_corpus
from moe_teach.data.tokenizer import encode_domains
from moe_teach.nn.model import Model
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.horizons import Horizon, chosen, search
from moe_teach.train.loop import train
from moe_teach.train.shipped import load_shipped

BATCH, LENGTH, N_WINDOWS = 8, 64, 16
THRESHOLD = 0.6  # of a layer's gates on the new skill
RANK = 4
PICKED: dict[str, Callable[[Tensor, Experts, int], Experts]] = {
    "relevant experts": lambda _scores, relevant, _seed: relevant,
    "random experts": lambda scores, relevant, seed: random_experts(
        relevant, scores.shape[1], seed
    ),
    "least relevant": lambda scores, relevant, _seed: least_relevant_experts(scores, relevant),
}
WHOLE: dict[str, Callable[[str], bool]] = {
    "everything": anything,
    "all experts": is_expert,
    "routers only": is_router,
}
ADAPTERS = "adapters on relevant"
WAYS = {name: name for name in (*WHOLE, *PICKED, ADAPTERS)}
LONGEST = {name: name for name in ("everything", "relevant experts", "random experts")}
LENGTHS = (20, 60, 200)
SEARCHED = search(WAYS, LENGTHS[:2], (*RATES, 0.032)) | search(
    LONGEST, LENGTHS[2:], (*RATES, 0.032)
)


@cache
def sample() -> tuple[Tensor, tuple]:
    """Return the new skill's tokens to learn from, and batches of all five texts to measure on."""
    tokenizer, corpus = load_shipped().tokenizer, build_corpus(DOMAINS)
    held_back = corpus.validation | {SKILL: remainders("validation")}
    held_back = {name: text[:60_000] for name, text in held_back.items()}
    taught = encode_domains({SKILL: remainders("train")}, tokenizer)
    seen = evaluation_batches(encode_domains(held_back, tokenizer), 40, LENGTH, N_WINDOWS)
    return taught, tuple(seen)


def losses(model: Model) -> dict[str, float]:
    """Measure nats a token in each of the four domains and in the new skill."""
    found = evaluate(model, sample()[1], (*DOMAINS, SKILL)).loss_per_domain
    return {name: round(loss, 4) for name, loss in found.items()}


def choice(model: Model, name: str, seed: int) -> Experts:
    """Choose which experts to train: those that the skill needs, or a control of equal number."""
    taught = Batches(sample()[0], BATCH, LENGTH, seed)
    scores = expert_relevance(model, [taught.at(step) for step in range(4)])
    return PICKED[name](scores, relevant_experts(scores, THRESHOLD), seed)


def tuned_part(model: Model, name: str, seed: int) -> AbstractContextManager:
    """Return the block within which only what the way trains can be trained."""
    if name in WHOLE:
        return training_only(model, WHOLE[name])
    return training_experts(model, choice(model, name, seed))


def tune(model: Model, steps: int, lr: float, seed: int) -> int:
    """Learn the new skill with whatever is trainable; return how many numbers that is."""
    config = TrainConfig(
        steps=steps, batch_size=BATCH, seq_len=LENGTH, lr=lr, warmup=min(20, steps // 4), seed=seed
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    train(model, Batches(sample()[0], BATCH, LENGTH, seed), config, progress=False)
    return trained


def measure_targeted(horizon: Horizon, seed: int) -> dict[str, Any]:
    """Teach the shipped model the skill in one way: losses, and how many numbers were trained."""
    model, name = load_shipped().model, horizon.setting
    before = losses(model)
    if name == ADAPTERS:
        adapters = ExpertAdapters(model, RANK, choice(model, "relevant experts", seed), seed=seed)
        trained = tune(model, horizon.steps, horizon.lr, seed)
        adapters.merge()
    else:
        with tuned_part(model, name, seed):
            trained = tune(model, horizon.steps, horizon.lr, seed)
    return {"before": before, "after": losses(model), "trained": trained}


BEST: Mapping[int, Mapping[str, float]] = {
    20: {
        "everything": 0.004,
        "all experts": 0.016,
        "routers only": 0.016,
        "relevant experts": 0.008,
        "random experts": 0.016,
        "least relevant": 0.032,
        "adapters on relevant": 0.032,
    },
    60: {
        "everything": 0.004,
        "all experts": 0.008,
        "routers only": 0.032,
        "relevant experts": 0.016,
        "random experts": 0.032,
        "least relevant": 0.032,
        "adapters on relevant": 0.032,
    },
    200: {"everything": 0.002, "relevant experts": 0.008, "random experts": 0.032},
}
"""The best of `12_targeted_rates` for the skill, at each length."""
CHOSEN = chosen(WAYS, BEST)
AT_ONE_RATE = chosen(
    {**LONGEST, "least relevant": "least relevant"},
    dict.fromkeys(LENGTHS, dict.fromkeys((*LONGEST, "least relevant"), 0.004)),
)
"""Harm grows with the rate, so that ways at their own rates differ in two things; here in one."""
