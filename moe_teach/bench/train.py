"""One training step of a whole model: ours, transformers' Mixtral, and the limit, in one run.

Every contender does forward, backward, clipping and AdamW in float32 on the same batch, with the
same balancing loss. Ours runs the loop of `moe_teach.train`, records included. The limit is a
dense model of the same active size: the same matrix multiplications for each token, no router, no
dispatch, and far fewer weights for the optimiser to move.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from moe_teach.bench.rivals import BACKENDS, MAX_GATHERED_BYTES
from moe_teach.bench.timing import Timing, in_turn
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.batches import Batch
from moe_teach.nn.model import Model
from moe_teach.train.config import TrainConfig
from moe_teach.train.loop import Trainer
from moe_teach.train.optimizer import build_optimizer

LIMIT = "limit: dense, same active size"
OURS = "moe_teach"
CLIP = 1.0
BALANCE = 0.01


@dataclass(frozen=True)
class Size:
    """A model and the batch it learns from."""

    name: str
    model: ModelConfig
    batch_size: int
    seq_len: int

    @property
    def n_tokens(self) -> int:
        """Tokens of one step."""
        return self.batch_size * self.seq_len

    @property
    def gathered_bytes(self) -> int:
        """Float32 bytes of one layer that copies the three matrices once for each row."""
        assert self.model.moe is not None
        n_rows = self.n_tokens * self.model.moe.router.top_k
        return 4 * 3 * n_rows * self.model.d_model * self.model.moe.d_ff

    def __str__(self) -> str:
        config, moe = self.model, self.model.moe
        assert moe is not None
        return (
            f"{self.name}: L={config.n_layers} d={config.d_model} f={moe.d_ff} "
            f"E={moe.router.n_experts} k={moe.router.top_k} V={config.vocab_size} "
            f"B={self.batch_size} S={self.seq_len}"
        )


def _size(
    name: str, layers: int, d: int, f: int, experts: int, v: int, batch_size: int, seq_len: int
) -> Size:
    attention = AttentionConfig(n_heads=d // 32, n_kv_heads=d // 32, d_head=32)
    moe = MoEConfig(router=RouterConfig(n_experts=experts, top_k=2), d_ff=f)
    model = ModelConfig(n_layers=layers, d_model=d, vocab_size=v, attention=attention, moe=moe)
    return Size(name, model, batch_size, seq_len)


SIZES = {
    "quick": _size("quick", 2, 32, 32, 4, 64, 4, 16),
    "lesson": _size("lesson", 4, 64, 64, 16, 256, 16, 64),
    "shipped": _size("shipped", 4, 256, 256, 16, 2048, 16, 128),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds of one step, and what a second is worth."""

    size: Size
    contender: str
    timing: Timing

    @property
    def tokens_per_second(self) -> float:
        """Tokens learned from in a second."""
        return self.size.n_tokens / self.timing.seconds


def time_size(size: Size, budget_s: float) -> Iterator[Row]:
    """Time one step of every contender."""
    times = in_turn(dict(contenders(size)), LIMIT, budget_s=budget_s)
    for name, timing in times.items():
        yield Row(size, name, timing)


def contenders(size: Size) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give a function for each contender that does one whole step."""
    torch.manual_seed(0)
    batch = random_batch(size)
    yield LIMIT, our_step(dense_twin(size.model), size, batch)
    yield OURS, our_step(size.model, size, batch)
    yield from _transformers_steps(size, batch)


def random_batch(size: Size) -> Batch:
    """Draw token ids; what they say does not change how long a step takes."""
    text = torch.randint(0, size.model.vocab_size, (size.batch_size, size.seq_len + 1))
    domain_ids = torch.zeros(size.batch_size, dtype=torch.long)
    return Batch(text[:, :-1].contiguous(), text[:, 1:].contiguous(), domain_ids)


def dense_twin(config: ModelConfig) -> ModelConfig:
    """Return the dense model whose feed-forwards are as wide as the experts one token uses."""
    assert config.moe is not None
    return replace(config, moe=None, d_ff_dense=config.moe.router.top_k * config.moe.d_ff)


def our_step(config: ModelConfig, size: Size, batch: Batch) -> Callable[[], object]:
    """Make one step of the library's own loop."""
    settings = TrainConfig(
        steps=1_000_000,
        batch_size=size.batch_size,
        seq_len=size.seq_len,
        clip=CLIP,
        load_balance_coef=BALANCE,
        dtype="float32",
    )
    trainer = Trainer(Model(config), settings)
    return lambda: trainer.advance(batch)


def _transformers_steps(size: Size, batch: Batch) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give Mixtral with each of its expert back-ends; nothing without transformers."""
    try:
        from transformers import MixtralConfig, MixtralForCausalLM
    except ImportError:
        return
    config, moe = size.model, size.model.moe
    assert moe is not None
    for backend in BACKENDS:
        if backend == "batched_mm" and size.gathered_bytes > MAX_GATHERED_BYTES:
            continue
        theirs = MixtralConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=moe.d_ff,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.attention.n_heads,
            num_key_value_heads=config.attention.n_kv_heads,
            num_local_experts=moe.router.n_experts,
            num_experts_per_tok=moe.router.top_k,
            # They do not divide by k, so even routing scores k where it scores 1 here.
            router_aux_loss_coef=BALANCE / moe.router.top_k,
            use_cache=False,
        )
        theirs._experts_implementation = backend
        yield f"transformers {backend}", _their_step(MixtralForCausalLM(theirs), batch)


def _their_step(model: nn.Module, batch: Batch) -> Callable[[], Tensor]:
    """Make a plain loop around a model of transformers, with our optimiser and clipping."""
    model.train()
    optimizer = build_optimizer(model, lr=1e-3, weight_decay=0.01)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        output = model(
            batch.inputs,
            labels=batch.targets,
            shift_labels=batch.targets,
            output_router_logits=True,
        )
        output.loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return output.loss.detach()

    return step
