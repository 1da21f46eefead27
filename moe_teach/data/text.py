"""The reader's own text: any file, or a data set of the Hugging Face hub, as a `Corpus`.

Only `read_dataset` ever asks the network, and only when it is called.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from moe_teach.config import refuse
from moe_teach.data.corpus import Corpus, make_corpus
from moe_teach.data.pieces import SIDES, normalise, side_of
from moe_teach.files import expanded

SMALLEST = 1000  # characters; a tenth of less is no validation text


def read_text(path: Path | str, domain: str | None = None) -> Corpus:
    """Read a text file, or all text files of a folder, as one domain.

    Of a file, the last tenth (from the beginning of a line) is for validation. The files of a
    folder are divided whole, one in ten for validation, by their names; line ends and spaces are
    written in one way, and bytes that are not UTF-8 are refused.

    Args:
        path: the file or the folder; in a folder, files that begin with a dot are left out.
        domain: what to call it; the name of the file or folder by default.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the text is too short to be divided, or is not UTF-8.
    """
    path = expanded(path)
    domain = domain or path.stem
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _is_text_file(file, path))
        named = ((file.relative_to(path).as_posix(), read_file(file)) for file in files)
        train, validation = _divided(named, f"the folder {path}")
        return _corpus(domain, train, validation, f"{len(files)} files of {path}")
    if not path.is_file():
        raise FileNotFoundError(f"There is no text at {path}.")
    text = read_file(path)
    refuse(
        len(text) < SMALLEST,
        f"{path} has {len(text)} characters: at least {SMALLEST} are needed for two sides.",
    )
    border = text.rfind("\n", 0, len(text) * 9 // 10) + 1 or len(text) * 9 // 10
    return _corpus(domain, text[:border], text[border:], f"the file {path}")


def read_dataset(
    name: str,
    config: str | None = None,
    *,
    split: str = "train",
    column: str = "text",
    domain: str | None = None,
    limit_bytes: int = 10_000_000,
) -> Corpus:
    """Read the beginning of a data set of the Hugging Face hub as one domain.

    Its documents are streamed until there is enough; one in ten is for validation, chosen by its
    text, so that a document that occurs twice is on one side.

    Args:
        name: the data set, such as "roneneldan/TinyStories".
        config: which of its configurations, where it has several.
        split: which of its splits to read; both sides are taken from it.
        column: the column that holds the text.
        domain: what to call it; the last part of the name by default.
        limit_bytes: stop after so many bytes of text.

    Raises:
        ImportError: the package `datasets` is not installed.
        ConnectionError: the data set cannot be reached, or does not exist.
        ValueError: the column does not exist, or there is too little text.
    """
    refuse(limit_bytes < SMALLEST, f"limit_bytes must be at least {SMALLEST}, not {limit_bytes}.")
    documents = _up_to(limit_bytes, _documents(name, config, split, column))
    named = ((text, text) for text in documents)
    train, validation = _divided(named, f"the data set {name}")
    return _corpus(
        domain or name.rsplit("/", 1)[-1], train, validation, f"{name}, split {split}, as streamed"
    )


def _documents(name: str, config: str | None, split: str, column: str) -> Iterator[str]:
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            "Reading data sets of the Hugging Face hub needs the package datasets: run "
            "'pip install datasets', or read a text file with read_text."
        ) from error
    try:
        rows: Iterable[dict[str, Any]] = datasets.load_dataset(
            name, config, split=split, streaming=True
        )
        rows = iter(rows)
        first = next(rows, None)
    except Exception as error:  # the library raises a dozen kinds, of four packages
        raise ConnectionError(
            f"The data set {name!r} (split {split!r}) could not be reached: {error}. Is this "
            "machine online, and does the data set exist? The corpus of the course needs no "
            "network: build_corpus()."
        ) from error
    refuse(first is None, f"The data set {name!r} (split {split!r}) is empty.")
    refuse(
        column not in first,
        f"The data set {name!r} has no column {column!r}: choose from {sorted(first)}.",
    )
    yield normalise(str(first[column]))
    yield from (normalise(str(row[column])) for row in rows)


def _up_to(limit_bytes: int, texts: Iterator[str]) -> Iterator[str]:
    total = 0
    for text in texts:
        yield text
        total += len(text.encode())
        if total >= limit_bytes:
            return


def _divided(named: Iterator[tuple[str, str]], what: str) -> tuple[str, str]:
    """Divide documents by name; both sides must get some."""
    texts: dict[str, list[str]] = {side: [] for side in SIDES}
    for name, text in named:
        if text.strip():
            texts[side_of(name)].append(text.strip("\n") + "\n\n")
    train, validation = ("".join(texts[side]) for side in SIDES)
    refuse(
        not train or not validation,
        f"There are too few documents in {what} to keep one in ten for validation; "
        "put them into one file and read that.",
    )
    return train, validation


def read_file(path: Path) -> str:
    """Return the text of a file in one spelling (see `pieces.normalise`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8.
    """
    try:
        return normalise(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not text in UTF-8 (byte {error.start} is the first that is not)."
        ) from error


def _is_text_file(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.is_file() and not hidden


def _corpus(domain: str, train: str, validation: str, source: str) -> Corpus:
    size = f"{len(train.encode()):,} + {len(validation.encode()):,} bytes"
    return make_corpus({domain: train}, {domain: validation}, {domain: f"{source}: {size}"})
