"""The small files of a released checkpoint: configuration, generation, tokenizer."""

import json
from typing import Any

import torch

from moe_teach.checkpoint.layouts import Layout
from moe_teach.checkpoint.layouts.config_json import to_json
from moe_teach.checkpoint.tokenizer_text import demand_fitting, end_token_of, id_of
from moe_teach.config import ModelConfig

CONFIG, GENERATION = "config.json", "generation_config.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
# transformers' default for experts is torch's grouped matmul, which takes rows of whole 16 bytes.
_STRIDE = 16


def small_files(
    layout: Layout,
    config: ModelConfig,
    dtype: torch.dtype,
    tokenizer_json: str | None,
    chat_template: str | None,
    end_token: str | None,
) -> dict[str, str]:
    """Return the texts of all files but the weights, by name; arguments as of `export_hf`."""
    if tokenizer_json is not None:
        demand_fitting(tokenizer_json, config.vocab_size)
        end_token = end_token or end_token_of(tokenizer_json)
    end = None if tokenizer_json is None or end_token is None else id_of(tokenizer_json, end_token)
    # Said even where it is nothing: a class of transformers has ids of its own for what is not.
    ids = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
    said = {**to_json(layout, config), **ids, "dtype": str(dtype).removeprefix("torch.")}
    widths = (config.d_model, config.moe.d_ff)
    if any(width * dtype.itemsize % _STRIDE for width in widths):
        said["experts_implementation"] = "eager"
    files = {CONFIG: _text(said), GENERATION: _text({"_from_model_config": True, **ids})}
    if tokenizer_json is not None:
        files[TOKENIZER] = tokenizer_json
        files[TOKENIZER_CONFIG] = _text(_tokenizer_config(config, end_token))
    if chat_template is not None:
        files[TEMPLATE] = chat_template
    return files


def _tokenizer_config(config: ModelConfig, end_token: str | None) -> dict[str, Any]:
    said = {
        # The class that reads tokenizer.json as it is, and adds nothing of its own.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_seq_len,
        "clean_up_tokenization_spaces": False,
    }
    if end_token is not None:
        said |= {"eos_token": end_token, "pad_token": end_token}
    return said


def _text(said: dict[str, Any]) -> str:
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"
