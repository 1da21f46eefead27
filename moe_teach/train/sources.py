"""Opens a model wherever it comes from: the package, a training run, a folder of either form."""

import json
from pathlib import Path
from typing import Any

from moe_teach.checkpoint import store
from moe_teach.checkpoint.chat import PLAIN_CHAT
from moe_teach.checkpoint.hf_files import CONFIG
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.checkpoint.native import load_model
from moe_teach.checkpoint.opened import Opened
from moe_teach.checkpoint.tokenizer_text import end_token_of
from moe_teach.config import refuse
from moe_teach.files import expanded
from moe_teach.nn.model import Model
from moe_teach.train.recipe import Recipe, read_recipe, recipe_from
from moe_teach.train.run import REPORT
from moe_teach.train.shipped import CARD, DEFAULT, TOKENIZER, WEIGHTS, load_folder, shipped_names
from moe_teach.train.state import load_weights

SHIPPED = "shipped"


def open_source(source: Path | str) -> Opened:
    """Open a model with its tokenizer and chat template.

    Args:
        source: "shipped" or the name of a model that came with the package; the TOML file of a
            recipe that was trained here; or a folder: of a training run, of a model that
            `save_model` wrote, or of a released checkpoint in Hugging Face's form. A run and a
            saved model have a checkpoint before the last: `:previous` behind the name asks for it.

    Raises:
        FileNotFoundError: there is nothing there.
        ValueError: what is there is no model, or is damaged; in a sentence.
    """
    names = shipped_names()
    if str(source) in (SHIPPED, *names):
        return _of_course(WEIGHTS / (DEFAULT if str(source) == SHIPPED else str(source)))
    place, which = store.named(expanded(source))
    if place.suffix == ".toml":
        recipe = read_recipe(place)
        return _run(expanded(recipe.run.folder), which, recipe)
    if not place.is_dir():
        raise FileNotFoundError(
            f"There is no model at {source}: name `{SHIPPED}`, the TOML file of a recipe, or a "
            "folder that holds a model."
        )
    return _folder(place, which)


def _folder(folder: Path, which: store.Which) -> Opened:
    if which == "latest" and (folder / CARD).is_file():
        return _of_course(folder)
    if store.exists(folder, which):
        is_run = store.kind_of(folder, which) == "run"
        return _run(folder, which) if is_run else load_model(folder, which)
    refuse(
        which == "previous",
        f"{folder} holds no checkpoint before the last: leave out what stands behind its name.",
    )
    refuse(
        not (folder / CONFIG).is_file(),
        f"{folder} holds no model: there is neither a {CONFIG} (a released checkpoint) nor a "
        "checkpoint.json (one of the course's) in it.",
    )
    return import_hf(folder)


def _of_course(folder: Path) -> Opened:
    return _with_texts(load_folder(folder).model, folder)


def _run(folder: Path, which: store.Which, recipe: Recipe | None = None) -> Opened:
    """Open the folder of a training run; what was trained in it stands in its report."""
    model = Model((recipe or _reported(folder)).model)
    load_weights(folder, model, which)
    return _with_texts(model.eval(), folder)


def _reported(folder: Path) -> Recipe:
    file = folder / REPORT
    refuse(
        not file.is_file(),
        f"There is no {REPORT} in {folder}, so its training has not ended: name its recipe "
        "instead, or let it end.",
    )
    try:
        return recipe_from(_stated(json.loads(file.read_text(encoding="utf-8"))["recipe"]))
    except (KeyError, TypeError, json.JSONDecodeError) as problem:
        raise ValueError(f"{file} is damaged: name the run's recipe instead.") from problem


def _stated(tables: Any) -> Any:
    """Leave out what a recipe does not say."""
    if not isinstance(tables, dict):
        return tables
    return {name: _stated(value) for name, value in tables.items() if value is not None}


def _with_texts(model: Model, folder: Path) -> Opened:
    file = folder / TOKENIZER
    refuse(not file.is_file(), f"There is no {TOKENIZER} in {folder}.")
    text = file.read_text(encoding="utf-8")
    return Opened(model, text, PLAIN_CHAT, end_token_of(text))
