"""A small language model on four domains: over which tokens should the load be balanced?"""

from dataclasses import dataclass
from typing import Any

import torch

from moe_teach.config import ModelConfig, MoEConfig, RouterConfig, ScoreFn
from moe_teach.data.batches import Batch, Batches, evaluation_batches
from moe_teach.data.domain_bytes import domain_bytes
from moe_teach.nn.model import Model
from moe_teach.train.config import BalanceScope, TrainConfig
from moe_teach.train.evaluate import evaluate
from moe_teach.train.loop import Trainer
from moe_teach.train.small_model import small_config

N_STEPS, BATCH_SIZE, SEQ_LEN = 300, 16, 64
MEASURED_AT = (100, N_STEPS)
N_WINDOWS = 64  # of each domain: 16,384 validation bytes in all


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How one language model is balanced; `accumulate` cuts its batch of 16 sequences."""

    scope: BalanceScope = "batch"
    load_balance_coef: float = 0.01
    accumulate: int = 1
    score_fn: ScoreFn = "softmax"
    bias_update_rate: float = 0.0


def model_config(balance: Balance) -> ModelConfig:
    """Describe the model: 2 layers of 16 small experts, of which a byte uses 2."""
    router = RouterConfig(n_experts=16, top_k=2, score_fn=balance.score_fn)
    return small_config(moe=MoEConfig(router=router, d_ff=64, activation="gelu"))


def train_config(balance: Balance, seed: int) -> TrainConfig:
    """Describe the training; only the balancing differs from one setting to the next."""
    return TrainConfig(
        steps=N_STEPS,
        batch_size=BATCH_SIZE,
        seq_len=SEQ_LEN,
        load_balance_coef=balance.load_balance_coef,
        balance_scope=balance.scope,
        bias_update_rate=balance.bias_update_rate,
        accumulate=balance.accumulate,
        seed=seed,
    )


def speak(balance: Balance, seed: int, n_steps: int = N_STEPS) -> dict[str, Any]:
    """Train one language model, or the beginning of one, and measure it as it goes.

    `path` holds, for the untrained model and some later steps, the validation loss in nats per
    byte and the bits that each layer's choices carry about the domain. `domain_loads` are the
    shares of the experts by layer and domain at the end.
    """
    training, held_back = domain_bytes()
    batches = Batches(training, BATCH_SIZE, SEQ_LEN, seed=seed)
    validation = evaluation_batches(held_back, 32, SEQ_LEN, limit=N_WINDOWS)
    torch.manual_seed(seed)
    trainer = Trainer(Model(model_config(balance)), train_config(balance, seed))
    path = [_measured(trainer, validation)]
    for step in range(n_steps):
        trainer.advance(batches.at(step))
        if step + 1 in MEASURED_AT or step + 1 == n_steps:
            path.append(_measured(trainer, validation))
    final = evaluate(trainer.model, validation, tuple(held_back))
    return {
        "loss": path[-1]["loss"],
        "domain_bits": path[-1]["domain_bits"],
        "null_bits": _measured(trainer, _shuffled(validation, seed))["domain_bits"],
        "path": path,
        "loss_per_domain": {name: round(v, 4) for name, v in final.loss_per_domain.items()},
        "domain_loads": _rounded(final.loads_per_domain),
        "max_violation": [round(16 * max(layer) - 1, 3) for layer in final.loads],
    }


def domain_bits(loads_per_domain: Any) -> list[float]:
    """Return, for each layer, how many bits a choice tells about its domain; 2 of 4 at most.

    This is the mutual information of expert and domain, all domains equally frequent.
    """
    shares = torch.tensor(list(loads_per_domain.values())).double()  # (domains, layers, experts)
    mean = shares.mean(dim=0, keepdim=True)
    terms = torch.xlogy(shares, shares) - torch.xlogy(shares, mean)
    return (terms.sum(dim=-1).mean(dim=0) / torch.log(torch.tensor(2.0))).tolist()


def _measured(trainer: Trainer, validation: list[Batch]) -> dict[str, Any]:
    found = evaluate(trainer.model, validation)
    bits = [round(value, 4) for value in domain_bits(found.loads_per_domain)]
    return {"step": len(trainer.records), "loss": round(found.loss, 4), "domain_bits": bits}


def _shuffled(batches: list[Batch], seed: int) -> list[Batch]:
    """Give the windows other windows' domains: what bits there still are, are chance."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.cat([batch.domain_ids for batch in batches])
    labels = labels[torch.randperm(len(labels), generator=random)]
    parts = labels.split([len(batch.domain_ids) for batch in batches])
    return [Batch(b.inputs, b.targets, part) for b, part in zip(batches, parts, strict=True)]


def _rounded(loads_per_domain: Any) -> dict[str, list[list[float]]]:
    return {
        name: [[round(share, 4) for share in layer] for layer in layers]
        for name, layers in loads_per_domain.items()
    }
