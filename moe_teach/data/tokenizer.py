"""Tokenizers: bytes as they are, or byte-level BPE trained on the reader's own text.

Both are stored as `tokenizer.json`, the format of the `tokenizers` library, so that what is
trained here opens in transformers and everything built on it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import tokenizers
import torch
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from moe_teach.config import refuse
from moe_teach.data.cache import cached_text
from moe_teach.files import write_atomically

END = "<|end|>"  # what a BPE vocabulary keeps for "the text ends here"
_N_BYTES = 256


@runtime_checkable
class AnyTokenizer(Protocol):
    """What batches, training and generation need of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """How many different token ids there are (V)."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; a cut character becomes U+FFFD."""

    def save(self, path: Path | str) -> Path:
        """Write `tokenizer.json`, into `path` if that is a folder; return the file."""


class ByteTokenizer:
    """Every byte of the UTF-8 text is a token: 256 ids, nothing to train, nothing unknown."""

    vocab_size = _N_BYTES

    def encode(self, text: str) -> list[int]:
        """Return the bytes of a text."""
        return list(text.encode())

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of bytes; a cut character becomes U+FFFD."""
        return bytes(ids).decode(errors="replace")

    def save(self, path: Path | str) -> Path:
        """Write it as a BPE without merges, whose ids are the bytes; return the file."""
        names = _names_of_bytes()
        model = models.BPE(vocab={name: byte for byte, name in enumerate(names)}, merges=[])
        return _store(_byte_level(model), path)

    @classmethod
    def load(cls, path: Path | str) -> "ByteTokenizer":
        """Read it back.

        Raises:
            ValueError: the file holds a tokenizer of another kind.
        """
        stored = _read(path)
        every_byte = {name: byte for byte, name in enumerate(_names_of_bytes())}
        refuse(
            stored.get_vocab() != every_byte,
            f"{path} does not hold the byte tokenizer; load it with BPETokenizer.load.",
        )
        return cls()


class BPETokenizer:
    """Byte-level byte-pair encoding: frequent sequences of bytes are one token.

    Sennrich et al. 2016 (arXiv 1508.07909), on bytes as in GPT-2: any text can be encoded, and
    decoding gives it back exactly.
    """

    def __init__(self, inner: Tokenizer) -> None:
        self._inner = inner

    @property
    def vocab_size(self) -> int:
        """How many different token ids there are (V)."""
        return self._inner.get_vocab_size()

    @property
    def end_id(self) -> int:
        """The id that says: the text ends here."""
        return self._inner.token_to_id(END)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        # The same ids as `encode`, without the positions in the text, in two thirds of the time.
        return self._inner.encode_batch_fast([text])[0].ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; a cut character becomes U+FFFD."""
        return self._inner.decode(list(ids))

    def save(self, path: Path | str) -> Path:
        """Write `tokenizer.json`, into `path` if that is a folder; return the file."""
        return _store(self._inner, path)

    @classmethod
    def load(cls, path: Path | str) -> "BPETokenizer":
        """Read a `tokenizer.json`, from `path` or from the folder it names."""
        return cls(_read(path))


def load_tokenizer(path: Path | str) -> ByteTokenizer | BPETokenizer:
    """Read a `tokenizer.json` of either kind."""
    stored = BPETokenizer.load(path)
    return ByteTokenizer.load(path) if stored.vocab_size == _N_BYTES else stored


def train_bpe(texts: Mapping[str, str] | Iterable[str], vocab_size: int = 2048) -> BPETokenizer:
    """Train a byte-level BPE, or read it from the cache if the same was trained before.

    Args:
        texts: the training side of a corpus, or any texts.
        vocab_size: upper limit of V: 256 bytes, the end mark and the merges. Small texts may
            have fewer pairs that occur twice.

    Raises:
        ValueError: the vocabulary is too small to hold every byte, or there is no text.
    """
    refuse(
        vocab_size <= _N_BYTES,
        f"vocab_size must be above {_N_BYTES}, one for each byte and one for {END}; "
        f"it is {vocab_size}.",
    )
    parts = list(texts.values() if isinstance(texts, Mapping) else texts)
    refuse(not any(parts), "There is no text to train a tokenizer on.")
    origin = json.dumps([parts, vocab_size, tokenizers.__version__])
    name = f"bpe-{vocab_size}-{hashlib.sha256(origin.encode()).hexdigest()[:16]}.json"
    return BPETokenizer(Tokenizer.from_str(cached_text(name, lambda: _train(parts, vocab_size))))


def encode_domains(
    texts: Mapping[str, str], tokenizer: AnyTokenizer
) -> dict[str, Int[Tensor, " _"]]:
    """Return the token ids of each domain's text, as `Batches` wants them."""
    return {
        domain: torch.from_numpy(np.array(tokenizer.encode(text), dtype=np.int32))
        for domain, text in texts.items()
    }


def _train(parts: list[str], vocab_size: int) -> str:
    tokenizer = _byte_level(models.BPE(), split_words=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # By the line, because a single text of megabytes is handled as one unit of work.
    lines = (line for part in parts for line in part.splitlines(keepends=True))
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer.to_str()


def _byte_level(model: models.Model, split_words: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=split_words
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _names_of_bytes() -> list[str]:
    """Return how the byte-level format writes each byte: printable ones as they are."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(_N_BYTES) if byte not in printable]
    names = {byte: chr(byte) for byte in printable}
    names |= {byte: chr(_N_BYTES + place) for place, byte in enumerate(hidden)}
    return [names[byte] for byte in range(_N_BYTES)]


def _store(tokenizer: Tokenizer, path: Path | str) -> Path:
    file = _file(path)
    write_atomically(file, tokenizer.to_str(pretty=True).encode())
    return file


def _read(path: Path | str) -> Tokenizer:
    file = _file(path)
    refuse(not file.is_file(), f"There is no tokenizer at {file}.")
    try:
        return Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception on damaged files
        raise ValueError(f"{file} is not a tokenizer.json that can be read: {error}.") from error


def _file(path: Path | str) -> Path:
    path = Path(path)
    return path / "tokenizer.json" if path.is_dir() or not path.suffix else path
