"""The training loop: one for lessons, experiments, the command line and many processes."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moe_teach.config import refuse
from moe_teach.data.batches import Batch
from moe_teach.ops.balance import load, max_violation
from moe_teach.train.bias import demand_biases, update_expert_biases
from moe_teach.train.config import TrainConfig, learning_rate
from moe_teach.train.evaluate import brought, evaluate
from moe_teach.train.gradients import Measured, accumulate_gradients
from moe_teach.train.keeper import Keeper
from moe_teach.train.optimizer import build_optimizer
from moe_teach.train.progress import progress_for
from moe_teach.train.ranks import Ranks
from moe_teach.train.record import History, StepRecord
from moe_teach.train.selector import Selector, selected
from moe_teach.train.state import fingerprint


class TrainingStopped(ArithmeticError):
    """Training cannot go on; the message is a sentence that names the last good checkpoint."""


class Trainer:
    """A model and its optimiser, advanced one batch at a time; `train` is the loop around it.

    Raises:
        ValueError: if nothing can be trained, or a bias should move that a router does not have.
    """

    def __init__(
        self, model: nn.Module, config: TrainConfig, selector: Selector | None = None
    ) -> None:
        if config.bias_update_rate:
            demand_biases(model)
        self.model, self.config, self.selector = model, config, selector
        self.ranks = Ranks.here()
        self.optimizer = build_optimizer(model, config.lr, config.weight_decay)
        self.records: list[StepRecord] = []
        self.ranks.align(model)

    @property
    def history(self) -> History:
        """The records so far."""
        return History(self.config, tuple(self.records))

    def advance(self, batch: Batch) -> StepRecord:
        """Learn from one batch: gradients, clipping, AdamW, expert bias; return its record.

        With a selector, the batch holds its candidates, and choosing is part of the step.

        Raises:
            TrainingStopped: if the loss or its gradient is not finite. The weights are still
                those of before the step.
        """
        started, step = time.perf_counter(), len(self.records)
        worked = time.process_time()
        if self.selector is not None:
            batch = selected(self.selector, self.model, batch, self.config.batch_size, step)
        _demand_shape(batch, self.config)
        lr = learning_rate(step, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        measured = self._gradients(batch, step)
        numbers = _numbers(step, measured, self._clipped_norm())
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # The biases first: where they cannot move, the weights have not moved either.
        update_expert_biases(self.model, measured.counts, self.config.bias_update_rate)
        self.optimizer.step()
        record = StepRecord(
            step=step,
            **numbers,
            lr=lr,
            max_violation=tuple(float(max_violation(count)) for count in measured.counts),
            loads=tuple(_shares(count) for count in measured.counts),
            tokens_per_second=self.config.tokens_per_step / (time.perf_counter() - started),
            cpu_seconds=time.process_time() - worked,
        )
        self.records.append(record)
        return record

    def _gradients(self, batch: Batch, step: int) -> Measured:
        here = brought(batch, self.model)
        self.model.train()
        try:
            return accumulate_gradients(self.model, here, self.config, self.ranks, step)
        except ValueError as problem:
            if step == 0:  # nothing has been learned yet, so it is the input that is wrong
                raise
            # A router refuses NaN before any loss can be computed from it.
            raise TrainingStopped(f"Training stopped at step {step}. {problem}") from problem

    def _clipped_norm(self) -> Tensor:
        """Measure the norm of the whole gradient and shrink it to `clip` where it is larger."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        if self.config.clip and norm > self.config.clip:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)
        return norm


def train(
    model: nn.Module,
    batches: Any,
    config: TrainConfig,
    *,
    evaluate_every: int = 0,
    validation: Iterable[Batch] | None = None,
    checkpoint_dir: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
    on_step: Callable[[StepRecord], object] | None = None,
    selector: Selector | None = None,
) -> History:
    """Train `model` in place for `config.steps` steps and return one record for each.

    Args:
        model: called as `model(token_ids) -> ModelOutput`.
        batches: `batches.at(step)` gives the batch of a step, always the same one.
        config: the settings.
        evaluate_every: measure `validation` after every so many steps, and after the last one.
        validation: batches to evaluate on; without them nothing is measured.
        checkpoint_dir: where checkpoints and `history.json` go; without it nothing is written.
        resume: go on from the newest checkpoint there; on a CPU, bit for bit as if undisturbed.
        progress: show a line about how it goes (never where MOE_TEACH_FAST=1).
        on_step: called with every new record, on the first process only.
        selector: chooses what a step learns from; the batches then hold its candidates.

    Raises:
        TrainingStopped: if a loss is not finite; the sentence names the last good checkpoint.
        ValueError: if batches, configuration and checkpoint do not belong together.
    """
    trainer = Trainer(model, config, selector)
    data = fingerprint(batches.at(0)) + ("" if selector is None else f" {selector.name}")
    keeper = Keeper(checkpoint_dir, model, trainer.optimizer, config, trainer.ranks, data)
    trainer.records.extend(keeper.begin(resume).records)
    fixed = list(validation) if validation is not None else []
    for record in _steps(trainer, batches, fixed, evaluate_every, keeper, progress):
        if on_step is not None and trainer.ranks.is_first:
            on_step(record)
    return trainer.history


def _steps(
    trainer: Trainer, batches: Any, fixed: list, every: int, keeper: Keeper, progress: bool
) -> Iterator[StepRecord]:
    """Advance to the last step; everything about a step is on the disk before it is shown."""
    config = trainer.config
    line = progress_for(config.steps, progress, trainer.ranks.is_first)
    line.begin(len(trainer.records))
    try:
        for step in range(len(trainer.records), config.steps):
            record = trainer.advance(batches.at(step))
            n_done = step + 1
            if fixed and (n_done == config.steps or (every and n_done % every == 0)):
                record = replace(record, validation_loss=evaluate(trainer.model, fixed).loss)
                trainer.records[-1] = record
            if keeper.is_due(n_done):
                keeper.keep(trainer.history)
            line.show(record)
            yield record
    except TrainingStopped as stop:
        raise TrainingStopped(f"{stop} {keeper.advice(len(trainer.records))}") from stop
    finally:
        line.close(len(trainer.records))


def _numbers(step: int, measured: Measured, norm: Tensor) -> dict[str, float]:
    """Read what was measured in one go, and stop where it is not finite."""
    names = ("task_loss", "load_balance_loss", "z_loss", "grad_norm")
    read = torch.stack([measured.task, measured.load_balance, measured.z, norm]).double().tolist()
    for name, value in zip(names, read, strict=True):
        if not math.isfinite(value):
            raise TrainingStopped(
                f"Training stopped at step {step}, because {name} is {value}; the weights were "
                "not touched by this step."
            )
    return dict(zip(names, read, strict=True))


def _shares(counts: Tensor) -> tuple[float, ...]:
    return tuple(round(share, 6) for share in load(counts).tolist())


def _demand_shape(batch: Batch, config: TrainConfig) -> None:
    shape = tuple(batch.inputs.shape)
    refuse(
        shape != (config.batch_size, config.seq_len),
        f"The batches are {shape[0]} sequences of {shape[-1]} tokens, but the configuration says "
        f"{config.batch_size} of {config.seq_len}: give both the same batch_size and seq_len.",
    )
