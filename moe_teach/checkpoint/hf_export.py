"""A model as a folder that transformers, vLLM and SGLang open: a released checkpoint's form."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from moe_teach.checkpoint import guard, tensor_file
from moe_teach.checkpoint.hf_files import small_files
from moe_teach.checkpoint.layouts import Layout
from moe_teach.checkpoint.layouts.names import Place, places_of
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.tensor_file import Entry
from moe_teach.config import refuse
from moe_teach.files import new_folder, write_atomically
from moe_teach.nn.model import Model

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def export_hf(
    model: Model,
    folder: Path | str,
    layout: Layout | str | None = None,
    *,
    tokenizer_json: str | None = None,
    chat_template: str | None = None,
    end_token: str | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Layout:
    """Write a model as a released checkpoint, and return the layout it has.

    The folder stands at its place only when everything in it does, and peak memory is the model
    and one tensor.

    Args:
        model: of the library's parts; `moe_teach.checkpoint.own` reads others as such.
        folder: that is not there yet, or is empty.
        layout: by name; None takes the plainest that computes what the model computes.
        tokenizer_json: the text of its `tokenizer.json`.
        chat_template: how a conversation becomes a text, in Jinja.
        end_token: the token that ends a text; None takes the tokenizer's if its name is usual.
        dtype: of the weights on disk; None keeps those of the model.
        shard_bytes: a file of weights holds at most so many, except for one larger tensor.

    Raises:
        ValueError: the layout would not compute the same (the router guard), or the tokenizer is
            that of another model.
        FileExistsError: the folder holds something.
    """
    guard.demand_plain(model)
    layout = guard.chosen(layout, model)
    dtype = dtype or model.embedding.weight.dtype
    refuse(dtype not in DTYPES, f"Checkpoints are written in one of {DTYPES}, not in {dtype}.")
    texts = small_files(layout, model.config, dtype, tokenizer_json, chat_template, end_token)
    write_folder(model, Path(folder), layout, texts, dtype, shard_bytes)
    return layout


def write_folder(
    model: Model,
    folder: Path,
    layout: Layout,
    texts: dict[str, str],
    dtype: torch.dtype,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write weights and texts, whatever they are: `export_hf` asks the guard before."""
    with new_folder(folder) as unfinished:
        for name, text in texts.items():
            write_atomically(unfinished / name, text.encode())
        write_weights(unfinished, _entries(model, layout, dtype), shard_bytes)


def _entries(model: Model, layout: Layout, dtype: torch.dtype) -> list[Entry]:
    tensors = dict(named_tensors(model))
    shapes = ((name, tuple(tensor.shape)) for name, tensor in tensors.items())
    entries = []
    for place in places_of(layout, shapes):
        tensor = tensors[place.ours]
        # The selection bias moves in steps that a narrow dtype would swallow.
        wanted = torch.float32 if place.ours.endswith("expert_bias") else dtype
        for expert, name in enumerate(place.theirs):
            make = _maker(place, tensor, expert, model)
            entries.append(Entry(name, place.shape_on_disk, wanted, make))
    return entries


def _maker(place: Place, tensor: Tensor, expert: int, model: Model) -> Callable[[], Tensor]:
    part = tensor[expert] if place.is_split else tensor
    return lambda: place.rule.change.to_disk(part.detach(), model.config)


def write_weights(folder: Path, entries: list[Entry], shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors as one file, or as several and an index, each made when its turn comes."""
    shards = _shards(entries, shard_bytes)
    if len(shards) == 1:
        tensor_file.write(folder / WEIGHTS, entries, {"format": "pt"})
        return
    where = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensor_file.write(folder / name, shard, {"format": "pt"})
        where |= {entry.name: name for entry in shard}
    total = sum(entry.n_bytes for entry in entries)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    write_atomically(folder / INDEX, (json.dumps(index, indent=2) + "\n").encode())


def _shards(entries: list[Entry], shard_bytes: int) -> list[list[Entry]]:
    shards: list[list[Entry]] = [[]]
    room = shard_bytes
    for entry in entries:
        if shards[-1] and entry.n_bytes > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(entry)
        room -= entry.n_bytes
    return shards
