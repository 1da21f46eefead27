"""Chapter 12: the small dense seed, its texts, and how a part of a model learns some of them."""

from collections.abc import Callable, Sequence
from functools import cache

from torch import Tensor

from moe_teach.chapters.ch12_specialise_and_compose.new_skill import SKILL, remainders
from moe_teach.compose.trainable import training_only
from moe_teach.data.batches import Batches, evaluation_batches
from moe_teach.data.domain_bytes import domain_bytes
from moe_teach.data.pieces import SIDES
from moe_teach.data.tokenizer import ByteTokenizer, encode_domains
from moe_teach.nn.model import Model
from moe_teach.train.config import TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.loop import train
from moe_teach.train.seeding import seeded_model
from moe_teach.train.small_model import small_config

BATCH, LENGTH, N_WINDOWS = 8, 64, 48
RATES = (0.002, 0.004, 0.008, 0.016)
SEARCH_SEED = 10  # of no verdict


def dense(seed: int) -> Model:
    """Build the untrained dense model of a seed: two layers of width 64 that read bytes."""
    return seeded_model(small_config(d_ff_dense=128), seed)


def anything(_name: str) -> bool:
    """Let every parameter learn."""
    return True


def learn(
    model: Model,
    domains: Sequence[str],
    steps: int,
    lr: float,
    seed: int,
    wanted: Callable[[str], bool] = anything,
) -> None:
    """Train what is wanted of a model on some of the texts; the rest stays, bit for bit."""
    taught, _ = token_ids()
    batches = Batches({name: taught[name] for name in domains}, BATCH, LENGTH, seed)
    config = TrainConfig(
        steps=steps, batch_size=BATCH, seq_len=LENGTH, lr=lr, warmup=min(20, steps // 4), seed=seed
    )
    with training_only(model, wanted):
        train(model, batches, config, progress=False)


def losses(model: Model) -> dict[str, float]:
    """Measure nats a byte in each of the four domains and in the new skill, on held-out text."""
    _, held_back = token_ids()
    batches = evaluation_batches(held_back, 80, LENGTH, N_WINDOWS)
    found = evaluate(model, batches, tuple(held_back)).loss_per_domain
    return {name: round(loss, 4) for name, loss in found.items()}


@cache
def token_ids() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the bytes of each domain and of the new skill: to learn from, and held back."""
    return tuple(
        {**texts, **encode_domains({SKILL: remainders(side)}, ByteTokenizer())}
        for side, texts in zip(SIDES, domain_bytes(), strict=True)
    )
