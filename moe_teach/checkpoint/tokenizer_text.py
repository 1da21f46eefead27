"""What a checkpoint needs to know about a tokenizer, read from the text of its `tokenizer.json`."""

import json
from typing import Any

from moe_teach.config import refuse

# Names that published tokenizers give to the token at the end of a text, the course's first.
_ENDS = ("<|end|>", "<|endoftext|>", "</s>", "<|im_end|>", "<eos>", "[EOS]")


def parsed(tokenizer_json: str) -> dict[str, Any]:
    """Read the text of a `tokenizer.json`.

    Raises:
        ValueError: it is none.
    """
    try:
        said = json.loads(tokenizer_json)
    except ValueError as problem:
        raise ValueError(f"The tokenizer is not the text of a tokenizer.json: {problem}.") from None
    refuse(
        not isinstance(said, dict) or not isinstance(said.get("model"), dict),
        "The tokenizer is not the text of a tokenizer.json: it has no model.",
    )
    return said


def demand_fitting(tokenizer_json: str, vocab_size: int) -> None:
    """Refuse a tokenizer with ids that the model has no embedding for.

    Raises:
        ValueError: in a sentence.
    """
    said = parsed(tokenizer_json)
    vocabulary = said["model"].get("vocab") or {}
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else range(len(vocabulary))
    highest = max([*ids, *(token["id"] for token in said.get("added_tokens") or [])], default=-1)
    refuse(
        highest >= vocab_size,
        f"The tokenizer's highest id is {highest}, but the model reads {vocab_size} different ids, "
        "0 included: this is the tokenizer of another model.",
    )


def id_of(tokenizer_json: str, token: str) -> int | None:
    """Return the id of a token that stands in the vocabulary as written; None if it does not."""
    said = parsed(tokenizer_json)
    for added in said.get("added_tokens") or []:
        if added["content"] == token:
            return added["id"]
    vocabulary = said["model"].get("vocab")
    return vocabulary.get(token) if isinstance(vocabulary, dict) else None


def end_token_of(tokenizer_json: str) -> str | None:
    """Guess which special token ends a text: a name that is usual for it, or None."""
    special = {token["content"] for token in parsed(tokenizer_json).get("added_tokens") or []}
    return next((name for name in _ENDS if name in special), None)
