"""A whole run in one TOML file: model, data and training. `moe-teach train FILE` runs it.

[model]                     # the fields of ModelConfig; vocab_size comes from the tokenizer
n_layers = 4
d_model = 64
attention = {n_heads = 2, n_kv_heads = 2, d_head = 32}
[model.moe]
d_ff = 64
router = {n_experts = 16, top_k = 2}
[train]                     # the fields of TrainConfig
steps = 500
[data]                      # the fields of DataConfig, all optional
tokenizer = "bpe"
[run]                       # the fields of RunConfig
folder = "runs/first"
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from moe_teach.config import ModelConfig, refuse
from moe_teach.config.tables import build, demand_known
from moe_teach.data.corpus import DOMAINS
from moe_teach.train.config import TrainConfig

N_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to learn from: domains of the course's corpus, or text files of one's own.

    `files` gives each domain a name and the path of a file or folder, seen from the current folder;
    a tenth of it is held back for validation. `weights` says how much of each domain, equal by
    default. `limit_bytes` cuts each domain of the corpus.
    """

    domains: tuple[str, ...] = DOMAINS
    files: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] | None = None
    limit_bytes: int | None = None
    tokenizer: Literal["bytes", "bpe"] = "bytes"
    vocab_size: int = 2048


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where results go, and how they are measured: so many windows of text from each domain."""

    folder: str
    evaluate_every: int = 0
    validation_windows: int = 64


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run."""

    model: ModelConfig
    train: TrainConfig
    data: DataConfig
    run: RunConfig


def read_recipe(path: str | Path) -> Recipe:
    """Read a TOML file.

    Raises:
        ValueError: in a sentence, for a file that is not there or not TOML, an unknown or missing
            key, a value of the wrong kind, or settings that do not fit together.
    """
    path = Path(path)
    refuse(not path.is_file(), f"There is no recipe at {path}.")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f"{path} is not valid TOML: {problem}.") from problem
    return recipe_from(tables)


def recipe_from(tables: dict[str, Any]) -> Recipe:
    """Make a recipe out of the tables of a TOML file; errors as in `read_recipe`."""
    demand_known(tables, ("model", "train", "data", "run"), "the recipe")
    for name in ("model", "train", "run"):
        refuse(name not in tables, f"The recipe lacks its table [{name}].")
    data = build(DataConfig, tables.get("data", {}), "data")
    vocab_size = data.vocab_size if data.tokenizer == "bpe" else N_BYTES
    stated = tables["model"].get("vocab_size", vocab_size)
    refuse(
        stated != vocab_size,
        f"[model] says vocab_size = {stated}, but the tokenizer of [data] has {vocab_size}: leave "
        "it out of [model].",
    )
    return Recipe(
        model=build(ModelConfig, {**tables["model"], "vocab_size": vocab_size}, "model"),
        train=build(TrainConfig, tables["train"], "train"),
        data=data,
        run=build(RunConfig, tables["run"], "run"),
    )
