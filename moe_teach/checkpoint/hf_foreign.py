"""Opening a released checkpoint of a layout that is not ours, by transformers itself.

What `moe_teach.checkpoint.hf_import` opens becomes a model of the library. For other architectures
the blocks of experts may be known all the same (`moe_teach.checkpoint.blocks`), so that their
routers can be watched while transformers computes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from moe_teach.checkpoint.blocks import FAMILIES
from moe_teach.checkpoint.hf_files import CONFIG, TOKENIZER
from moe_teach.checkpoint.layouts import LAYOUTS
from moe_teach.config import refuse


class Foreign(NamedTuple):
    """A model of transformers in evaluation mode; `read_by` says which release computes it."""

    model: nn.Module
    tokenizer_json: str | None
    model_type: str
    read_by: str


def is_foreign(folder: Path) -> bool:
    """Whether a folder holds a released checkpoint that `import_hf` has no layout for."""
    kind = _said(folder).get("model_type")
    return isinstance(kind, str) and kind not in [layout.name for layout in LAYOUTS]


def open_foreign(folder: Path) -> Foreign:
    """Open a folder by transformers; no code of the folder is run, and nothing is fetched.

    Raises:
        ValueError: the routers of its architecture are not known here, or its weights are not all
            there, or it is damaged.
        ModuleNotFoundError: transformers is not installed.
    """
    said = _said(folder)
    kinds = [said.get("model_type"), _table(said.get("text_config")).get("model_type")]
    known = [layout.name for layout in LAYOUTS]
    refuse(
        not set(kinds) & set(FAMILIES),
        f"{folder / CONFIG} describes a model of type {kinds[0]!r}. Those that can be opened here "
        f"are {', '.join(known)}; and by transformers, with their routers watched, "
        f"{', '.join(kind for kind in FAMILIES if kind not in known)}.",
    )
    try:
        import transformers
    except ImportError as problem:
        raise ModuleNotFoundError(
            f"A model of type {kinds[0]!r} is read by transformers, which is not installed: "
            "pip install transformers"
        ) from problem
    with _quiet(transformers):
        model = _loaded(folder, transformers.AutoModelForCausalLM)
    file = folder / TOKENIZER
    text = file.read_text(encoding="utf-8") if file.is_file() else None
    return Foreign(model, text, str(kinds[0]), f"transformers {transformers.__version__}")


def _loaded(folder: Path, automatic: Any) -> nn.Module:
    try:
        model, found = automatic.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto",
            output_loading_info=True,
        )
    except Exception as problem:  # of many kinds, after what is missing or damaged
        first = str(problem).strip().splitlines()[0]
        raise ValueError(f"transformers could not open {folder}: {first}") from problem
    lacking = sorted(found["missing_keys"]) + [str(one[0]) for one in found["mismatched_keys"]]
    refuse(
        bool(lacking),
        f"{folder} lacks tensors of the model, or has them in another shape: {', '.join(lacking)}. "
        "transformers would draw them at random.",
    )
    return model.eval()


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep bars of progress and advice away for a while."""
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before[0])
        if before[1]:
            logging.enable_progress_bar()


def _said(folder: Path) -> dict[str, Any]:
    """Read what a folder says of its model; nothing where that cannot be read."""
    try:
        return _table(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
