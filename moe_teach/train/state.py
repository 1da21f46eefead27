"""Saving and resuming a run: everything that the next step depends on, and nothing else.

The batches and all randomness are pure functions of (seed, step), so a checkpoint is weights,
buffers, the optimiser's moments, and the history so far. The folder holds the latest checkpoint
and the one before (`moe_teach.checkpoint.store`).
"""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.store import DamagedCheckpoint, Which, exists, load, save
from moe_teach.config import refuse
from moe_teach.data.batches import Batch
from moe_teach.train.config import TrainConfig
from moe_teach.train.record import History

FREE_TO_CHANGE = ("checkpoint_every",)  # settings that do not touch what is learned


def save_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, history: History, data: str
) -> None:
    """Write a checkpoint after the last step of `history`."""
    tensors = {f"model.{name}": tensor for name, tensor in named_tensors(model)}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    meta = {"step": len(history), "history": json.loads(history.to_json()), "data": data}
    save(folder, tensors, meta)


def load_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig, data: str
) -> History:
    """Bring model and optimiser to the newest checkpoint and return its history.

    Without a checkpoint nothing changes and the history is empty. Where the latest is damaged the
    one before serves: the steps between are done again, with the same result.

    Raises:
        ValueError: if the checkpoint belongs to another model, other data or other settings, or
            both are damaged.
    """
    if not exists(folder):
        return History(config, ())
    try:
        tensors, meta = load(folder)
    except DamagedCheckpoint as damage:
        try:
            tensors, meta = load(folder, "previous")
        except FileNotFoundError:
            raise damage from None
    history = History.from_json(json.dumps(meta["history"]))
    _demand_same_run(folder, history.config, config, meta["data"], data)
    _put_weights(folder, model, tensors)
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            key, _, parameter_name = rest.partition(".")
            parameter = parameters[parameter_name]
            optimizer.state[parameter][key] = tensor.to(parameter.device, copy=True)
    return History(config, history.records)


def load_weights(folder: str | Path, model: nn.Module, which: Which = "latest") -> None:
    """Give a model the weights and buffers of a run's checkpoint, and nothing else of the run.

    Raises:
        ValueError: if the checkpoint belongs to another model, or is damaged.
        FileNotFoundError: if there is none.
    """
    tensors, _ = load(folder, which)
    _put_weights(Path(folder), model, tensors)


def step_of(folder: Path, which: Which) -> int | None:
    """Return after how many steps a checkpoint was written; `None` where there is none to use."""
    try:
        return load(folder, which)[1]["step"]
    except (FileNotFoundError, DamagedCheckpoint):
        return None


def forget(folder: Path) -> None:
    """Remove the records of an earlier run, which would be taken for this one's."""
    for name in ("checkpoint.json", "previous.json"):
        (folder / name).unlink(missing_ok=True)


def fingerprint(batch: Batch) -> str:
    """Return a short digest of a batch, to tell whether a run goes on with the same data."""
    digest = hashlib.sha256()
    for rows in (batch.inputs, batch.targets, *(() if batch.real is None else [batch.real])):
        digest.update(str(tuple(rows.shape)).encode())
        digest.update(rows.detach().cpu().long().numpy().tobytes())
    return digest.hexdigest()[:16]


def _put_weights(folder: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    _demand_same_tensors(folder, model, tensors)
    with torch.no_grad():
        for name, tensor in named_tensors(model):
            tensor.copy_(tensors[f"model.{name}"])


def _demand_same_run(
    folder: Path, there: TrainConfig, here: TrainConfig, data_there: str, data_here: str
) -> None:
    before, now = there.as_dict(), here.as_dict()
    changed = [
        f"{name} was {before[name]!r} and is {now[name]!r}"
        for name in now
        if name not in FREE_TO_CHANGE and before[name] != now[name]
    ]
    way_out = "Choose another checkpoint folder, or pass resume=False to begin anew in this one."
    refuse(
        bool(changed),
        f"{folder} holds a run with other settings: {'; '.join(changed)}. {way_out}",
    )
    refuse(
        data_there != data_here,
        f"{folder} was trained on other batches than these, so going on would be neither run. "
        f"{way_out}",
    )


def _demand_same_tensors(folder: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    there = {
        name.removeprefix("model."): tuple(tensor.shape)
        for name, tensor in tensors.items()
        if name.startswith("model.")
    }
    here = {name: tuple(tensor.shape) for name, tensor in named_tensors(model)}
    differing = sorted(set(there.items()) ^ set(here.items()))
    refuse(
        bool(differing),
        f"{folder} holds another model than this one; the first difference is "
        f"{differing[0][0] if differing else ''!r}. Build the model from the configuration it was "
        "trained with.",
    )
