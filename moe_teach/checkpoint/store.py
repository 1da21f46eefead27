"""A folder that holds named tensors and a JSON record, and never half of either.

Tensors go to a safetensors file named by its digest, the record to `checkpoint.json`, which names
that file; renaming the record into place is the one moment at which the new checkpoint replaces
the old. A kill before it leaves the old one, a kill after it the new one. The one before is kept
as `previous.json` with its tensors, older ones are removed.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from moe_teach.checkpoint import tensor_file
from moe_teach.checkpoint.tensor_file import Entry, Reader
from moe_teach.config import refuse
from moe_teach.files import sync_folder, write_atomically

SCHEMA = 1
Which = Literal["latest", "previous"]
_RECORDS: dict[Which, str] = {"latest": "checkpoint.json", "previous": "previous.json"}
BEFORE = ":previous"  # what commands write behind a name to mean the checkpoint before the last


class DamagedCheckpoint(ValueError):
    """What lies in the folder is not what was saved."""


def save(folder: Path | str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Save tensors and a record as the folder's latest checkpoint; one process at a time.

    Args:
        folder: created when missing; holds this checkpoint and the one before.
        tensors: by name, of any dtype and on any device. Tensors that share memory are stored
            once each.
        meta: whatever JSON can hold: step, configuration, losses. Tuples come back as lists and
            keys as text.

    Raises:
        ValueError: `meta` holds something that JSON cannot.
    """
    folder = Path(folder)
    written = _json(meta)
    entries = [Entry.of(name, tensor) for name, tensor in tensors.items()]
    unnamed = folder / "tensors-new.safetensors"
    digest = tensor_file.write(unnamed, entries)
    name = f"tensors-{digest[:16]}.safetensors"
    unnamed.replace(folder / name)
    sync_folder(folder)
    record = {
        "schema": SCHEMA,
        "tensors": name,
        "digest": digest,
        "meta_digest": hashlib.sha256(written.encode()).hexdigest(),
        "meta": json.loads(written),
    }
    current = folder / _RECORDS["latest"]
    if exists(folder) and _named(current) not in (None, name):
        write_atomically(folder / _RECORDS["previous"], current.read_bytes())
    write_atomically(current, (json.dumps(record, indent=1) + "\n").encode())
    _tidy(folder)


def load(
    folder: Path | str, which: Which = "latest", device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the record of a checkpoint, checked against their digests.

    Args:
        folder: where `save` put it.
        which: "latest", or "previous" for the one before.
        device: where the tensors should be.

    Raises:
        FileNotFoundError: there is no checkpoint.
        DamagedCheckpoint: it is not as it was saved; the sentence says what can be done.
    """
    with reading(folder, which) as (reader, meta):
        return {name: reader.read(name).to(device, copy=True) for name in reader.names}, meta


@contextlib.contextmanager
def reading(folder: Path | str, which: Which = "latest") -> Iterator[tuple[Reader, dict[str, Any]]]:
    """Open a checkpoint whose tensors are read one by one; its digests are checked first.

    Arguments and errors are those of `load`.
    """
    folder = Path(folder)
    refuse(which not in _RECORDS, f"which must be one of {tuple(_RECORDS)}, but it is {which!r}.")
    file = folder / _RECORDS[which]
    if not file.is_file():
        raise FileNotFoundError(f"There is no {which} checkpoint in {folder}.")
    record = _read_record(file)
    if record is None:
        raise DamagedCheckpoint(f"{file} is damaged. {_advice(folder, which)}")
    refuse(
        record["schema"] > SCHEMA,
        f"{file} was written by a newer version of the course (schema {record['schema']}, and this "
        f"one knows {SCHEMA}): install the newest version to read it.",
    )
    tensors = folder / record["tensors"]
    if not tensors.is_file() or tensor_file.digest_of(tensors) != record["digest"]:
        raise DamagedCheckpoint(
            f"{tensors} is missing or not what was saved. {_advice(folder, which)}"
        )
    with tensor_file.reading(tensors) as reader:
        yield reader, record["meta"]


def named(source: Path) -> tuple[Path, Which]:
    """Take apart what commands call a checkpoint: a place, with `:previous` for the one before."""
    name = source.name.removesuffix(BEFORE)
    if name in ("", source.name) or source.exists():
        return source, "latest"
    return source.with_name(name), "previous"


def exists(folder: Path | str, which: Which = "latest") -> bool:
    """Say whether the folder holds a checkpoint, good or damaged."""
    return (Path(folder) / _RECORDS[which]).is_file()


def kind_of(folder: Path | str, which: Which = "latest") -> str | None:
    """Return what a checkpoint of a folder says it is; "run" where it says nothing.

    None where nothing can be read.
    """
    record = _read_record(Path(folder) / _RECORDS[which])
    return record and record["meta"].get("kind", "run")


def _json(meta: Mapping[str, Any]) -> str:
    try:
        # Twice, because keys become text and are sorted as such when read back.
        return json.dumps(json.loads(json.dumps(dict(meta))), sort_keys=True)
    except TypeError as error:
        raise ValueError(
            f"The record of a checkpoint must be plain JSON (numbers, text, lists, dictionaries): "
            f"{error}. Tensors belong to `tensors`."
        ) from error


def _read_record(file: Path) -> dict[str, Any] | None:
    """Return the record, or None if it is not as it was written."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        written = json.dumps(record["meta"], sort_keys=True)
        whole = hashlib.sha256(written.encode()).hexdigest() == record["meta_digest"]
        whole &= Path(record["tensors"]).name == record["tensors"]  # beside it, and nowhere else
        return record if whole and record["schema"] >= SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _named(file: Path) -> str | None:
    record = _read_record(file)
    return record and record["tensors"]


def _advice(folder: Path, which: Which) -> str:
    if which == "latest" and exists(folder, "previous"):
        return (
            f"The one before is there: to a command it is {folder}{BEFORE} (or, of a recipe, "
            f"FILE.toml{BEFORE}), and in Python which='previous' loads it. To go back to it for "
            f"good, rename {_RECORDS['previous']} to {_RECORDS['latest']}."
        )
    return "There is no other in the folder: start anew, or bring back a copy."


def _tidy(folder: Path) -> None:
    """Remove tensors that no record names, and what a killed save left behind."""
    kept = {_named(folder / name) for name in _RECORDS.values()}
    for file in [*folder.glob("tensors-*.safetensors"), *folder.glob(".*.tmp")]:
        if file.name not in kept:
            file.unlink(missing_ok=True)
