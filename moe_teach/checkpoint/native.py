"""The course's own form of a model: configuration, weights, tokenizer, chat template; one folder.

    save_model("runs/mine", model, tokenizer_json=text)
    opened = load_model("runs/mine")

It is a checkpoint as `moe_teach.checkpoint.store` writes it: atomic, hashed, with the one before
kept. Every tensor and every buffer keeps its dtype, so a model comes back bit for bit. Peak
memory, both ways, is the model and one tensor.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moe_teach.checkpoint import guard, store
from moe_teach.checkpoint.model_tensors import materialise, named_tensors, outline
from moe_teach.checkpoint.opened import Opened
from moe_teach.checkpoint.tensor_file import Reader
from moe_teach.checkpoint.tokenizer_text import demand_fitting, end_token_of
from moe_teach.config import ModelConfig, refuse
from moe_teach.config.tables import as_table, build
from moe_teach.nn.model import Model

SCHEMA = 1
_KIND = "model"


def save_model(
    folder: Path | str,
    model: Model,
    *,
    tokenizer_json: str | None = None,
    chat_template: str | None = None,
    end_token: str | None = None,
) -> None:
    """Save a model as the latest checkpoint of a folder.

    Args:
        folder: created when missing; the model that was saved in it before is kept beside it.
        model: of the library's parts; `moe_teach.checkpoint.own` reads others as such.
        tokenizer_json: the text of its `tokenizer.json`.
        chat_template: how a conversation becomes a text, in Jinja.
        end_token: the token that ends a text; None takes the tokenizer's if its name is usual.

    Raises:
        ValueError: the model is not what its configuration says, the tokenizer is another
            model's, or the folder holds a training run, which the model would push out.
    """
    guard.demand_plain(model)
    if tokenizer_json is not None:
        demand_fitting(tokenizer_json, model.config.vocab_size)
        end_token = end_token or end_token_of(tokenizer_json)
    folder = Path(folder)
    refuse(
        store.exists(folder) and store.kind_of(folder) not in (None, _KIND),
        f"{folder} holds the checkpoints of a training run, which this model would push out: "
        "save it in another folder.",
    )
    meta = {
        "kind": _KIND,
        "schema": SCHEMA,
        "config": as_table(model.config),
        "tokenizer_json": tokenizer_json,
        "chat_template": chat_template,
        "end_token": end_token,
    }
    store.save(folder, dict(named_tensors(model)), meta)


def load_model(
    folder: Path | str,
    which: store.Which = "latest",
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Opened:
    """Open a model that `save_model` wrote.

    Args:
        folder: where it was saved.
        which: "latest", or "previous" for the one that was saved there before.
        dtype: of the weights; None keeps what was saved. The selection bias keeps its own.
        device: where the model shall be.

    Raises:
        FileNotFoundError: there is none.
        DamagedCheckpoint: its files are not those that were saved.
        ValueError: the folder holds something else, or was written by a newer version.
    """
    with store.reading(folder, which) as (reader, meta):
        _demand_model(Path(folder), meta)
        model = outline(build(ModelConfig, meta["config"], "config"))
        _demand_same_tensors(Path(folder), model, reader)

        def make(name: str, empty: Tensor) -> Tensor:
            tensor = reader.read(name)
            is_weight = dtype is not None and isinstance(empty, torch.nn.Parameter)
            return tensor.to(device, dtype if is_weight else tensor.dtype, copy=True)

        materialise(model, make)
    return Opened(model, meta["tokenizer_json"], meta["chat_template"], meta["end_token"])


def _demand_model(folder: Path, meta: Mapping[str, Any]) -> None:
    refuse(
        meta.get("kind") != _KIND,
        f"{folder} does not hold a model but the checkpoints of a training run: open it by its "
        "recipe, with moe_teach.train.shipped.load_run.",
    )
    refuse(
        meta["schema"] > SCHEMA,
        f"{folder} was written by a newer version of the course (schema {meta['schema']}, and this "
        f"one knows {SCHEMA}): install the newest version to read it.",
    )


def _demand_same_tensors(folder: Path, model: Model, reader: Reader) -> None:
    there = {name: reader.shape_of(name) for name in reader.names}
    here = {name: tuple(tensor.shape) for name, tensor in named_tensors(model)}
    differing = sorted(name for name, _ in set(there.items()) ^ set(here.items()))
    refuse(
        bool(differing),
        f"The weights in {folder} are not those of its configuration; the first difference is "
        f"{differing[0] if differing else ''}. They were put together from two models.",
    )
