"""The tokenizer of a model in the words of a GGUF file."""

from typing import Any

from moe_teach.checkpoint.gguf.metadata import Value
from moe_teach.checkpoint.tokenizer_text import demand_fitting, end_token_of, id_of, parsed
from moe_teach.config import refuse

NORMAL, CONTROL, UNUSED = 1, 3, 5
"""llama.cpp's numbers for kinds of tokens."""
# llama.cpp opens no vocabulary without merges. This one joins what no text is ever split into.
_NO_MERGE = "<|none|> <|none|>"
# Without a token that ends a text, llama.cpp would take number 11, whatever that is. The byte
# zero is the one that no text holds.
_NUL = 0


def of_tokenizer(
    tokenizer_json: str | None,
    vocab_size: int,
    chat_template: str | None = None,
    end_token: str | None = None,
) -> dict[str, Value]:
    """Return the keys that describe the tokenizer, from the text of its `tokenizer.json`.

    Without one every token is called by its number, such as `<|17|>`, and requests have to hold
    ids. (llama.cpp has a word for files without vocabulary, and its server dies of them.)

    Raises:
        ValueError: the text is another kind of tokenizer, or belongs to another model; there is
            no such end token.
    """
    if tokenizer_json is None:
        refuse(
            chat_template is not None or end_token is not None,
            "A chat template and an end token are read by a tokenizer: give tokenizer_json too.",
        )
        return _said({}, set(), [], vocab_size, _NUL)
    demand_fitting(tokenizer_json, vocab_size)
    stored = parsed(tokenizer_json)
    _demand_byte_level(stored)
    added = stored.get("added_tokens") or []
    names = {place: name for name, place in stored["model"]["vocab"].items()}
    names |= {token["id"]: token["content"] for token in added}
    special = {token["id"] for token in added if token["special"]}
    end_token = end_token or end_token_of(tokenizer_json)
    end = _NUL if end_token is None else id_of(tokenizer_json, end_token)
    refuse(end is None, f"The tokenizer has no token {end_token!r} to end a text with.")
    said = _said(names, special, stored["model"]["merges"], vocab_size, end)
    return said if chat_template is None else said | {"tokenizer.chat_template": chat_template}


def _said(
    names: dict[int, str], special: set[int], merges: list[Any], vocab_size: int, end: int
) -> dict[str, Value]:
    places = range(vocab_size)
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


def _demand_byte_level(stored: dict[str, Any]) -> None:
    """Refuse what llama.cpp would split otherwise: it knows pre-tokenizers by name only."""
    splits = stored.get("pre_tokenizer") or {}
    refuse(
        stored["model"].get("type") != "BPE"
        or splits.get("type") != "ByteLevel"
        or bool(splits.get("add_prefix_space"))
        or stored.get("normalizer") is not None
        or (not splits.get("use_regex", True) and bool(stored["model"]["merges"])),
        "This is a tokenizer of another kind than this course trains: only byte-level BPE that "
        "splits words as GPT-2 does, without a normaliser and without a space put in front, is "
        "written into GGUF.",
    )
