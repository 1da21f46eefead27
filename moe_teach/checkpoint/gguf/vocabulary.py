"""The tokenizer of a model in the words of a GGUF file."""

import json
from pathlib import Path
from typing import Any

from moe_teach.checkpoint.gguf.metadata import Value
from moe_teach.config import refuse

NORMAL, CONTROL, UNUSED = 1, 3, 5
"""llama.cpp's numbers for kinds of tokens."""
# llama.cpp opens no vocabulary without merges. This one joins what no text is ever split into.
_NO_MERGE = "<|none|> <|none|>"
# Without a token that ends a text, llama.cpp would take number 11, whatever that is. The byte
# zero is the one that no text holds.
_NUL = 0


def of_tokenizer(
    tokenizer_json: Path | None, vocab_size: int, chat_template: str | None
) -> dict[str, Value]:
    """Return the keys that describe the tokenizer.

    Without a `tokenizer.json` every token is called by its number, such as `<|17|>`, and requests
    have to hold ids. (llama.cpp has a word for files without vocabulary, and its server dies of
    them.)

    Raises:
        ValueError: the file holds another kind of tokenizer, or more tokens than the model has.
    """
    if tokenizer_json is None:
        refuse(
            chat_template is not None,
            "A chat template needs a tokenizer that can read it: give tokenizer_json too.",
        )
        return _said({}, set(), [], vocab_size)
    stored = _read(tokenizer_json)
    added = stored["added_tokens"]
    names = {place: name for name, place in stored["model"]["vocab"].items()}
    names |= {token["id"]: token["content"] for token in added}
    special = {token["id"] for token in added if token["special"]}
    refuse(
        max(names) >= vocab_size,
        f"The tokenizer has {max(names) + 1} tokens, but the model knows only {vocab_size}: it "
        "belongs to another model.",
    )
    said = _said(names, special, stored["model"]["merges"], vocab_size)
    return said if chat_template is None else said | {"tokenizer.chat_template": chat_template}


def _said(
    names: dict[int, str], special: set[int], merges: list[Any], vocab_size: int
) -> dict[str, Value]:
    places = range(vocab_size)
    end = min(special, default=_NUL)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [names.get(place, f"<|{place}|>") for place in places],
        "tokenizer.ggml.token_type": [_kind(place, names, special) for place in places],
        "tokenizer.ggml.merges": [_merge(merge) for merge in merges] or [_NO_MERGE],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.bos_token_id": end,
        "tokenizer.ggml.eos_token_id": end,
    }


def _kind(place: int, names: dict[int, str], special: set[int]) -> int:
    if place in special:
        return CONTROL
    return NORMAL if place in names or not names else UNUSED


def _merge(merge: str | list[str]) -> str:
    return merge if isinstance(merge, str) else " ".join(merge)


def _read(file: Path) -> dict[str, Any]:
    refuse(not file.is_file(), f"There is no tokenizer at {file}.")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        kind = (stored["model"]["type"], stored["pre_tokenizer"]["type"], stored["normalizer"])
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{file} is not a tokenizer.json that can be read.") from problem
    refuse(
        kind != ("BPE", "ByteLevel", None) or stored["pre_tokenizer"]["add_prefix_space"],
        f"{file} holds a tokenizer of another kind than this course trains: only byte-level BPE, "
        "without a normaliser and without a space put in front, is written into GGUF.",
    )
    return stored
