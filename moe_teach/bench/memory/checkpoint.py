"""A checkpoint of random weights in the shape of a published model, made on the spot.

Nothing is learned in it, so its router has no favourites: every expert is as likely as any other,
which is the worst that can happen to a cache. `lean_towards_favourites` gives it some: all tokens
share a direction, and each router row looks at it with a weight of its own. So every expert has a
bias, and both engines compute the same one, from weights alone.
"""

import math
import shutil
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from moe_teach.checkpoint.gguf.architectures import ARCHITECTURES
from moe_teach.checkpoint.gguf.export import write
from moe_teach.checkpoint.gguf.tensors import Named
from moe_teach.checkpoint.gguf.vocabulary import of_tokenizer
from moe_teach.checkpoint.hf_export import write_weights
from moe_teach.checkpoint.hf_files import small_files
from moe_teach.checkpoint.hf_import import import_hf, weight_files, weights
from moe_teach.checkpoint.layouts import layout_named
from moe_teach.checkpoint.layouts.names import Place, places_of
from moe_teach.checkpoint.model_tensors import named_tensors, outline
from moe_teach.checkpoint.tensor_file import Entry
from moe_teach.config import ModelConfig, refuse
from moe_teach.cost import weight_bytes
from moe_teach.deploy.store.tensor_places import TensorFile
from moe_teach.files import new_folder, write_atomically
from moe_teach.ops.quantise import KINDS

LAYOUT = "olmoe"
HF, GGUF = "model", "model.gguf"
_SHIFT = 1_000_003  # places, between one expert's numbers and the next's
SHARED = 0.5  # length of the direction all tokens share, beside that of their own part
ROUTER_VARIANCE = 0.1  # of a logit: as the library's routers begin


def make(folder: Path, config: ModelConfig, seed: int = 0) -> None:
    """Write the checkpoint twice, as safetensors and as GGUF, in bfloat16; what is there stays.

    Raises:
        ValueError: the disk has no room for both.
    """
    wanted = 2 * weight_bytes(config)
    folder.mkdir(parents=True, exist_ok=True)
    missing = wanted - sum(file.stat().st_size for file in folder.rglob("*.*") if file.is_file())
    free = shutil.disk_usage(folder).free
    refuse(
        missing > 0.95 * free,
        f"Two checkpoints take {wanted / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free: "
        "name a folder on a larger disk with --folder, or make room.",
    )
    if not (folder / HF).is_dir():
        _write_hf(folder / HF, config, seed)
    if not (folder / GGUF).is_file():
        _write_gguf(folder / HF, folder / GGUF)


def lean_towards_favourites(folder: Path, config: ModelConfig, skew: float, seed: int = 0) -> None:
    """Write other tables and routers over those of both files, so that experts have a bias.

    `skew` is the spread of the biases over that of the logits; 0 takes them away again.
    """
    drawn = dict(_trunk_with_bias(config, skew, seed))
    _write_over_hf(
        folder / HF,
        {place.theirs[0]: drawn[place.ours] for place in _places(config) if place.ours in drawn},
    )
    in_gguf = {_gguf_name(name): tensor for name, tensor in drawn.items()}
    _write_over_gguf(folder / GGUF, in_gguf)


def _write_hf(folder: Path, config: ModelConfig, seed: int) -> None:
    texts = small_files(layout_named(LAYOUT), config, torch.bfloat16, None, None, None)
    entries = [
        Entry(theirs, place.shape_on_disk, torch.bfloat16, _maker(place, number, config, seed))
        for place in _places(config)
        for number, theirs in enumerate(place.theirs)
    ]
    with new_folder(folder) as unfinished:
        for name, text in texts.items():
            write_atomically(unfinished / name, text.encode())
        write_weights(unfinished, entries)


def _write_gguf(source: Path, file: Path) -> None:
    opened = import_hf(source, experts_stay=True)
    config = opened.model.config
    places = {place.ours: place for place in _places(config)}
    with weights(source) as shards:

        def content(named: Named) -> Tensor:
            if not named.of_experts:
                return named.content()
            _, layer, what, _ = named.name.replace("ffn_", "").split(".")
            ours = f"blocks.{layer}.ffn.experts.w_{what.removesuffix('_exps')}"
            return torch.stack([shards.read(theirs) for theirs in places[ours].theirs])

        narrow, said = KINDS["BF16"], of_tokenizer(None, config.vocab_size)
        write(opened.model, file, ARCHITECTURES[LAYOUT], said, narrow, narrow, content)


def _places(config: ModelConfig) -> list[Place]:
    shapes = [(name, tuple(tensor.shape)) for name, tensor in named_tensors(outline(config))]
    return places_of(layout_named(LAYOUT), shapes)


def _maker(place: Place, number: int, config: ModelConfig, seed: int) -> Callable[[], Tensor]:
    """Make one tensor of the file. The experts of a layer share one draw, each shifted in it.

    Drawing 6.9 billion numbers would take longer than writing them.
    """

    def make() -> Tensor:
        tensor = _drawn(place.ours, place.shape_on_disk, config, seed)
        return tensor.flatten().roll(number * _SHIFT).view(tensor.shape) if number else tensor

    return make


@lru_cache(maxsize=3)
def _drawn(ours: str, shape: tuple[int, ...], config: ModelConfig, seed: int) -> Tensor:
    """Draw a tensor as the library's modules begin, but for the embedding, which is as large.

    The sizes of a trained stream are not those at the start: an embedding of 0.02 would be drowned
    by the first layers, and with it the direction that all tokens share.
    """
    if "norm" in ours:
        return torch.ones(shape, dtype=torch.bfloat16)
    deviation = shape[-1] ** -0.5
    if ours.endswith(("o_proj.weight", "w_down")):
        deviation *= (2 * config.n_layers) ** -0.5
    if ours.endswith("router.proj.weight"):
        deviation *= ROUTER_VARIANCE**0.5
    if ours == "embedding.weight":
        deviation = 1.0
    random = torch.Generator().manual_seed(zlib.crc32(ours.encode()) + seed)
    return torch.empty(shape).normal_(std=deviation, generator=random).bfloat16()


def _trunk_with_bias(config: ModelConfig, skew: float, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Give the embedding and the routers, with a shared direction and a look at it."""
    width = config.d_model
    direction = torch.full((width,), width**-0.5)
    for place in _places(config):
        if place.ours != "embedding.weight" and not place.ours.endswith("router.proj.weight"):
            continue
        tensor = _drawn(place.ours, place.shape, config, seed).float()
        if skew and place.ours == "embedding.weight":
            tensor += SHARED * width**0.5 * direction
        elif skew:
            random = torch.Generator().manual_seed(zlib.crc32(place.ours.encode()) + seed + 1)
            bias = torch.randn(len(tensor), 1, generator=random) * skew * ROUTER_VARIANCE**0.5
            # After the norm, a token has about this much of the direction.
            seen = SHARED / math.sqrt(1 + SHARED**2) * width**0.5
            tensor += bias / seen * direction
        yield place.ours, tensor


def _write_over_hf(folder: Path, tensors: dict[str, Tensor]) -> None:
    for path in weight_files(folder)[0]:
        file = TensorFile(path)
        file.close()
        with path.open("r+b") as stream:
            for name in tensors.keys() & file.places.keys():
                stream.seek(file.places[name].begin)
                stream.write(tensors[name].bfloat16().view(torch.uint8).numpy().tobytes())


def _write_over_gguf(file: Path, tensors: dict[str, Tensor]) -> None:
    import gguf

    reader = gguf.GGUFReader(file, "r+")
    for there in reader.tensors:
        if there.name not in tensors:
            continue
        tensor = tensors[there.name].bfloat16()  # the router too, so that both choose alike
        if there.tensor_type == gguf.GGMLQuantizationType.F32:
            there.data[:] = tensor.float().numpy().reshape(there.data.shape)
        else:
            there.data[:] = tensor.view(torch.uint8).numpy().reshape(there.data.shape)
    reader.data.flush()


def _gguf_name(ours: str) -> str:
    if ours == "embedding.weight":
        return "token_embd.weight"
    return f"blk.{ours.split('.')[1]}.ffn_gate_inp.weight"
