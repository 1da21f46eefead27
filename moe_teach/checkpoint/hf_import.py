"""Opening a released checkpoint: OLMoE, Qwen3-30B-A3B, Mixtral, or a tiny one of a test."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moe_teach.checkpoint import tensor_file
from moe_teach.checkpoint.hf_export import INDEX, WEIGHTS
from moe_teach.checkpoint.hf_files import CONFIG, TEMPLATE, TOKENIZER, TOKENIZER_CONFIG
from moe_teach.checkpoint.layouts import LAYOUTS, Layout, layout_named
from moe_teach.checkpoint.layouts.config_json import from_json
from moe_teach.checkpoint.layouts.names import Place, Window, places_of
from moe_teach.checkpoint.model_tensors import materialise, named_tensors, outline
from moe_teach.checkpoint.opened import Opened
from moe_teach.checkpoint.tensor_file import Reader
from moe_teach.config import ModelConfig, refuse
from moe_teach.nn.model import Model

_COMPUTED = "rotary_emb.inv_freq"  # older files store what follows from the configuration


def import_hf(
    source: Path | str,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    *,
    experts_stay: bool = False,
) -> Opened:
    """Open a released checkpoint as a model of the library.

    Tensors are read one by one, so peak memory is the model and one tensor. Experts may stand in
    their files one by one, as released models have them, or all of a layer in one tensor, as
    transformers 5 has them in memory and mergekit writes them.

    Args:
        source: a folder, or, with a connection, the name of a model on the Hugging Face hub such
            as "allenai/OLMoE-1B-7B-0924".
        dtype: of the weights; None keeps that of the stored embedding. The selection bias stays
            in float32.
        device: where the model shall be.
        experts_stay: leave the routed experts on the disk, and an outline in their place.

    Raises:
        FileNotFoundError: there is no such folder, or a file is missing.
        ValueError: in a sentence, for another architecture, a key or tensor that is unknown,
            missing or of another shape, and a file that was cut short.
    """
    folder = _folder(source)
    said = _read(folder / CONFIG)
    layout = layout_named_in(said, folder)
    config = from_json(layout, said)
    with weights(folder) as reader:
        model = _model(layout, config, reader, dtype, torch.device(device), experts_stay)
    return Opened(model, *_texts(folder), layout=layout.name)


def layout_named_in(said: Mapping[str, Any], folder: Path) -> Layout:
    """Return the layout that a `config.json` names."""
    kind = said.get("model_type")
    refuse(
        not isinstance(kind, str),
        f"{folder / CONFIG} has no model_type: it does not describe a released model.",
    )
    known = ", ".join(layout.name for layout in LAYOUTS)
    refuse(
        kind not in known.split(", "),
        f"{folder / CONFIG} describes a model of type {kind!r}, and those that can be opened here "
        f"are {known}.",
    )
    return layout_named(kind)


class Shards:
    """The tensors of a checkpoint, whichever of its files they are in."""

    def __init__(self, readers: list[Reader]) -> None:
        self._of = {name: reader for reader in readers for name in reader.names}
        self.names = frozenset(self._of)

    def read(self, name: str) -> Tensor:
        """Return a tensor; it may be a window on its file."""
        return self._of[name].read(name)

    def seen_through(self, window: Window) -> Tensor:
        """Return what a window shows of its tensor, and read nothing else."""
        if window.rows is None:
            return self.read(window.name)
        return self._of[window.name].read_rows(window.name, *window.rows)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it."""
        return self._of[name].shape_of(name)

    def dtype_of(self, name: str) -> torch.dtype | None:
        """Return the dtype of a tensor without reading it; None for an unusual one."""
        return self._of[name].dtype_of(name)


@contextlib.contextmanager
def weights(folder: Path) -> Iterator[Shards]:
    """Open the files of weights of a released checkpoint; errors as in `import_hf`."""
    files, promised = weight_files(folder)
    with contextlib.ExitStack() as stack:
        shards = Shards([stack.enter_context(tensor_file.reading(file)) for file in files])
        absent = sorted(promised - shards.names)
        refuse(
            bool(absent),
            f"{folder / INDEX} promises {_some(absent)}, which its files do not hold.",
        )
        yield shards


def weight_files(folder: Path) -> tuple[list[Path], set[str]]:
    """Return the files of weights, and the tensors that an index promises (none without one)."""
    index, single = folder / INDEX, folder / WEIGHTS
    if not index.is_file() and not single.is_file():
        raise FileNotFoundError(
            f"There is neither {WEIGHTS} nor {INDEX} in {folder}: only checkpoints in the "
            "safetensors format are read."
        )
    where: dict[str, str] = _read(index).get("weight_map", {}) if index.is_file() else {}
    names = sorted(set(where.values())) if index.is_file() else [WEIGHTS]
    refuse(not names, f"{index} names no file.")
    refuse(
        any(Path(name).name != name for name in names),
        f"{index} names files outside its own folder.",
    )
    return [folder / name for name in names], set(where)


def _model(
    layout: Layout,
    config: ModelConfig,
    shards: Shards,
    dtype: torch.dtype | None,
    device: torch.device,
    experts_stay: bool,
) -> Model:
    model = outline(config)
    shapes = ((name, tuple(tensor.shape)) for name, tensor in named_tensors(model))
    places = {place.ours: place for place in places_of(layout, shapes)}
    _demand_same_tensors(layout, config, shards, list(places.values()))
    first = places["embedding.weight"].theirs[0]
    wanted = dtype or shards.dtype_of(first)
    refuse(wanted is None, f"{first} is stored in a dtype that the course does not read.")

    def make(name: str, empty: Tensor) -> Tensor:
        precise = empty.dtype if name.endswith("expert_bias") else wanted
        if name not in places:  # a selection bias that the layout does not have
            return torch.zeros(empty.shape, dtype=precise, device=device)
        place = places[name]
        if experts_stay and place.is_split:
            return empty
        tensor = torch.empty(empty.shape, dtype=precise, device=device)
        targets = tensor if place.is_split else [tensor]
        for target, window in zip(targets, place.windows(shards.names), strict=True):
            target.copy_(place.rule.change.from_disk(shards.seen_through(window), config))
        return tensor

    return materialise(model, make)


def _demand_same_tensors(
    layout: Layout, config: ModelConfig, shards: Shards, places: list[Place]
) -> None:
    seen = (window for place in places for window in place.windows(shards.names))
    wanted = {window.name: window.whole for window in seen}
    refuse(
        bool(missing := sorted(set(wanted) - shards.names)),
        f"The checkpoint lacks {_some(missing)}, which config.json asks for.",
    )
    unknown = sorted(
        name
        for name in shards.names - set(wanted)
        if not name.endswith(_COMPUTED)
        and not layout.unread(name, config.n_layers)
        # Some files hold a second copy of what is tied.
        and not (config.tie_embeddings and name == "lm_head.weight")
    )
    refuse(
        bool(unknown),
        f"The checkpoint holds {_some(unknown)}, for which the {layout.title} of its config.json "
        "has no place: it would be ignored, and the model would answer otherwise.",
    )
    for name, shape in wanted.items():
        found = shards.shape_of(name)
        refuse(
            found != shape,
            f"{name} is {found} in the checkpoint, and config.json makes it {shape}.",
        )


def _folder(source: Path | str) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    looks_like_a_name = str(source).count("/") == 1 and not str(source).startswith(("/", ".", "~"))
    if not looks_like_a_name or folder.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.jinja"]
    try:
        return Path(snapshot_download(str(source), allow_patterns=wanted))
    except Exception as problem:  # of many kinds: no network, no such name, no leave to read it
        raise FileNotFoundError(
            f"{source} is no folder here, and it could not be brought from the hub: {problem}"
        ) from problem


def _texts(folder: Path) -> tuple[str | None, str | None, str | None]:
    """Return the tokenizer's text, the chat template and the end token, as far as they exist."""
    file = folder / TOKENIZER_CONFIG
    said = _read(file) if file.is_file() else {}
    end = said.get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    template = _text(folder / TEMPLATE) or said.get("chat_template")
    return _text(folder / TOKENIZER), template if isinstance(template, str) else None, end


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"There is no {file.name} in {file.parent}.")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ValueError(f"{file} is not whole JSON: {problem}.") from problem
    refuse(not isinstance(said, dict), f"{file} is not a table of keys.")
    return said


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
