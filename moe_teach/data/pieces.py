"""Documents and pieces: how text is normalised, fingerprinted and divided for good.

A *document* is a file of the standard library, a help topic or a block of generated text; it
consists of *pieces* separated by blank lines. A *side* is "train" or "validation".
"""

import hashlib
import re
import unicodedata
from typing import Literal

Side = Literal["train", "validation"]
SIDES: tuple[Side, ...] = ("train", "validation")
Documents = dict[str, list[str]]

# Three bytes: a changed piece is compared with the hundred or so of its own document, so that it
# passes for the recorded one about once in 100 000 changes.
FINGERPRINT_BYTES = 3
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
_INVISIBLE = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def normalise(text: str) -> str:
    """Return the text in one spelling: NFC, Unix line ends, plain spaces, no invisible marks."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _INVISIBLE.sub("", _SPACES.sub(" ", text.expandtabs(8)))
    return "\n".join(line.rstrip() for line in text.split("\n"))


def fingerprint(piece: str) -> bytes:
    """Return the first bytes of the piece's SHA-256."""
    return hashlib.sha256(piece.encode()).digest()[:FINGERPRINT_BYTES]


def place(name: str) -> int:
    """Return a number that depends on the name only: the order of documents, and their side."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def side_of(name: str) -> Side:
    """Say to which side a document, or an operand of generated text, belongs for good.

    One in ten goes to validation. Only the name decides, so that a document stays on its side
    whatever else is added, left out or changed.
    """
    return "validation" if place(name) % 10 == 0 else "train"


def in_order(documents: Documents) -> Documents:
    """Return the documents mixed, by `place`, so that any beginning is a fair sample."""
    return {name: documents[name] for name in sorted(documents, key=place)}


def joined(documents: Documents) -> str:
    """Return the documents as one text: a blank line after every piece."""
    return "".join(f"{piece}\n\n" for pieces in documents.values() for piece in pieces)
