"""Chapter 11: the small language models whose routers are read, and the text they are read on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from moe_teach.config import MoEConfig, RouterConfig
from moe_teach.data.batches import Batch, Batches, evaluation_batches
from moe_teach.data.domain_bytes import domain_bytes
from moe_teach.files import cache_folder
from moe_teach.nn.model import Model
from moe_teach.train.config import BalanceScope, TrainConfig
from moe_teach.train.loop import train
from moe_teach.train.seeding import seeded_model
from moe_teach.train.small_model import small_config

N_EXPERTS, TOP_K, BATCH, LENGTH = 16, 2, 16, 64
WINDOWS = 64  # of held-back text, for each domain: 4,096 tokens
EQUAL: Mapping[str, float] = MappingProxyType(
    {"code": 1.0, "english": 1.0, "languages": 1.0, "arithmetic": 1.0}
)
RARE: Mapping[str, float] = MappingProxyType(
    {"code": 0.46, "english": 0.46, "languages": 0.04, "arithmetic": 0.04}
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One small model: how deep, how long it learns, of which mixture, balanced over what."""

    steps: int = 500
    n_layers: int = 4
    rare: bool = False
    balance_scope: BalanceScope = "batch"
    lr: float = 4e-3

    @property
    def mixture(self) -> Mapping[str, float]:
        """How much of each domain it learns from."""
        return RARE if self.rare else EQUAL


def untrained_model(trial: Trial, seed: int) -> Model:
    """Build the model as it is before its first step: bytes in, 16 experts a layer, two of them."""
    router = RouterConfig(n_experts=N_EXPERTS, top_k=TOP_K)
    moe = MoEConfig(router=router, d_ff=64, activation="gelu")
    return seeded_model(small_config(trial.n_layers, moe=moe), seed)


def held_back(windows: int = WINDOWS, batch_size: int = 64) -> list[Batch]:
    """Return windows of text that no model has seen, the domains taking turns by row."""
    return evaluation_batches(domain_bytes()[1], batch_size, LENGTH, windows)


def trained_model(trial: Trial, seed: int, *, keep: bool = True, progress: bool = False) -> Model:
    """Train the model of a trial, in evaluation mode; weights and batches depend on the seed.

    With `keep`, a checkpoint stays in the cache: several experiments read one model, and one that
    was cut goes on.
    """
    model = untrained_model(trial, seed)
    batches = Batches(domain_bytes()[0], BATCH, LENGTH, seed, trial.mixture)
    config = TrainConfig(
        steps=trial.steps,
        batch_size=BATCH,
        seq_len=LENGTH,
        lr=trial.lr,
        balance_scope=trial.balance_scope,
        seed=seed,
    )
    folder = _folder(trial, seed) if keep else None
    train(model, batches, config, checkpoint_dir=folder, progress=progress)
    return model.eval()


def _folder(trial: Trial, seed: int) -> Path:
    kind = "rare" if trial.rare else trial.balance_scope
    return cache_folder() / "11" / f"{kind}-{trial.n_layers}-{trial.steps}-{trial.lr:g}-{seed}"


def requests(mixture: Mapping[str, float], seed: int, n_batches: int = 4) -> list[Batch]:
    """Draw batches of 64 held-back windows that hold the domains in given shares."""
    drawn = Batches(domain_bytes()[1], 64, LENGTH, seed + 1000, mixture)
    return [drawn.at(step) for step in range(n_batches)]
