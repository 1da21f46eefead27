"""The small trained model that comes with the package: nothing to download, nothing to train.

    model, tokenizer, card = load_shipped()

Its folder in `moe_teach/weights` holds the weights in bfloat16, the tokenizer, the recipe that
trains it again, and a card: what it was trained on, where, how long, and what came out.
`moe-teach author ship` (`moe_teach.course.authoring.shipping`) writes such a folder from a
finished run.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch

from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.store import DamagedCheckpoint, Which
from moe_teach.config import refuse
from moe_teach.data.tokenizer import BPETokenizer, ByteTokenizer, load_tokenizer
from moe_teach.files import expanded, write_atomically
from moe_teach.nn.model import Model
from moe_teach.train.recipe import Recipe, read_recipe
from moe_teach.train.state import load_weights

WEIGHTS = Path(__file__).parents[1] / "weights"
DEFAULT = "four_domains"
MODEL, TOKENIZER, RECIPE, CARD = "model.safetensors", "tokenizer.json", "recipe.toml", "card.json"


class Shipped(NamedTuple):
    """A trained model in evaluation mode, its tokenizer, and its card as plain numbers and text."""

    model: Model
    tokenizer: ByteTokenizer | BPETokenizer
    card: dict[str, Any]


def shipped_names() -> tuple[str, ...]:
    """Return the names of the models that came with this package."""
    return tuple(sorted(file.parent.name for file in WEIGHTS.glob(f"*/{CARD}")))


def load_shipped(name: str = DEFAULT) -> Shipped:
    """Load a model that came with the package.

    The weights are stored in bfloat16 and computed with in float32: a CPU is faster so, and every
    number is the stored one exactly.

    Raises:
        ValueError: there is no such model.
        DamagedCheckpoint: its files are not those that were shipped.
    """
    names = shipped_names()
    refuse(
        name not in names,
        f"No model {name!r} came with this package; it brings {', '.join(names) or 'none'}.",
    )
    return load_folder(WEIGHTS / name)


def load_folder(folder: str | Path) -> Shipped:
    """Load a folder that `moe-teach author ship` wrote; errors as in `load_shipped`."""
    folder = Path(folder)
    card_file = folder / CARD
    refuse(not card_file.is_file(), f"There is no {CARD} in {folder}: no model was shipped there.")
    try:
        card = json.loads(card_file.read_text(encoding="utf-8"))
        digests = card["digests"]
    except (ValueError, KeyError, TypeError) as problem:
        raise DamagedCheckpoint(f"{card_file} is damaged. {_ADVICE}") from problem
    for name in (MODEL, TOKENIZER, RECIPE):
        file = folder / name
        if not file.is_file() or digest_of(file) != digests.get(name):
            raise DamagedCheckpoint(f"{file} is missing or not what was shipped. {_ADVICE}")
    model = Model(read_recipe(folder / RECIPE).model)
    stored = safetensors.torch.load_file(folder / MODEL)
    with torch.no_grad():
        for name, tensor in named_tensors(model):
            tensor.copy_(stored[name])
    return Shipped(model.eval(), load_tokenizer(folder / TOKENIZER), card)


def load_run(recipe: Recipe, which: Which = "latest") -> tuple[Model, ByteTokenizer | BPETokenizer]:
    """Return the model a recipe has trained, as far as its folder holds it, and its tokenizer.

    Args:
        recipe: by which it was trained.
        which: "latest", or "previous" for the checkpoint before the last.

    Raises:
        ValueError: the tokenizer is missing, or the checkpoint belongs to another model.
        FileNotFoundError: there is no checkpoint: the recipe was not trained on this machine.
    """
    folder = expanded(recipe.run.folder)
    model = Model(recipe.model)
    load_weights(folder, model, which)
    return model.eval(), load_tokenizer(folder / TOKENIZER)


def save_weights(model: Model, file: Path) -> None:
    """Write the weights in bfloat16, each tensor once; what is no number with a point stays."""
    tensors = {
        name: (tensor.bfloat16() if tensor.is_floating_point() else tensor).detach().cpu().clone()
        for name, tensor in named_tensors(model)
    }
    write_atomically(file, safetensors.torch.save(tensors, metadata={"format": "pt"}))


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file; of a text, with Unix line ends, as git may change them."""
    content = file.read_bytes()
    if file.suffix != ".safetensors":
        content = content.replace(b"\r\n", b"\n")
    return hashlib.sha256(content).hexdigest()


_ADVICE = "Install the package again, or bring the folder back from the repository."
