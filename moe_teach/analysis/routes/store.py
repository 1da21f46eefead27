"""Routes on disk: written chunk by chunk while they are made, read back lazily.

    with RouteWriter(folder) as writer:
        for record in routes_by_batch(model, batches, domains):
            writer.add(record)
    routes = open_routes(folder)      # nothing is read but a page of JSON
    routes.read(100_000, 100_064)     # a `RouteRecord` of these tokens

A folder holds `routes.json`, which names the chunks and says of which weights they are, and one
safetensors file for each chunk. Every file is whole or not there, and a chunk is named only when
it is whole: a recording that is killed keeps all the chunks it had finished.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from moe_teach.analysis.routes.compact import from_columns, to_columns
from moe_teach.analysis.routes.record import RouteRecord, demand_alike, joined
from moe_teach.checkpoint import tensor_file
from moe_teach.checkpoint.tensor_file import Entry
from moe_teach.config import refuse
from moe_teach.files import write_atomically

MANIFEST, FORMAT = "routes.json", 1
CHUNK_TOKENS = 65_536  # of 8 experts in 16 layers: 19 MB on disk, 160 MB while it is made


class RouteWriter:
    """Write records as they come; use it in a `with` block.

    Args:
        folder: that is not there yet, or is empty.
        chunk_tokens: a chunk is written as soon as there are so many; what a kill can cost.
        exact: keep gates and margins in float32, at twice the size; else they are rounded as
            `moe_teach.analysis.routes.compact` says.

    Raises:
        FileExistsError: the folder holds something, which is left alone.
    """

    def __init__(
        self, folder: Path | str, *, chunk_tokens: int = CHUNK_TOKENS, exact: bool = False
    ) -> None:
        refuse(chunk_tokens < 1, f"A chunk has at least one token; chunk_tokens is {chunk_tokens}.")
        self.folder, self.chunk_tokens, self.exact = Path(folder), chunk_tokens, exact
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise FileExistsError(
                f"{folder} is there already, and what it holds is left alone: name a folder that "
                "is not there or is empty."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._waiting: list[RouteRecord] = []
        self._first: RouteRecord | None = None  # no token of it: what all others must be like
        self._chunks: list[dict[str, Any]] = []
        self._n_texts = 0

    def add(self, record: RouteRecord) -> None:
        """Take the next tokens; their texts are numbered on.

        Raises:
            ValueError: the record is of another model, or of other kinds of text.
        """
        if self._first is None:
            self._first = record.only(slice(0, 0))
        demand_alike(self._first, record)
        self._waiting.append(record)
        if sum(map(len, self._waiting)) >= self.chunk_tokens:
            self._write_chunk()

    def __enter__(self) -> "RouteWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        """Write what is waiting, also after an error; only a good end counts as finished."""
        if self._waiting:
            self._write_chunk()
        if kind is None:
            refuse(self._first is None, "Nothing was recorded: there was no batch.")
            self._write_manifest(is_finished=True)

    def _write_chunk(self) -> None:
        whole = joined(self._waiting)
        name = f"chunk-{len(self._chunks):05d}.safetensors"
        columns = to_columns(whole, self.exact)
        entries = [Entry.of(name, column) for name, column in columns.items()]
        digest = tensor_file.write(self.folder / name, entries)
        self._chunks.append(
            {"file": name, "n_tokens": len(whole), "first_text": self._n_texts, "sha256": digest}
        )
        self._n_texts += whole.n_texts
        self._waiting = []
        self._write_manifest(is_finished=False)

    def _write_manifest(self, *, is_finished: bool) -> None:
        assert self._first is not None
        said = {
            "format": FORMAT,
            "is_finished": is_finished,
            "weights_digest": self._first.weights_digest,
            "n_experts": self._first.n_experts,
            "layers": self._first.layers,
            "domains": self._first.domains,
            "chunks": self._chunks,
        }
        write_atomically(self.folder / MANIFEST, json.dumps(said, indent=1).encode())


@dataclass(frozen=True, eq=False)
class StoredRoutes:
    """Routes in a folder. Chunks are mapped into memory when they are asked for."""

    folder: Path
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return sum(chunk["n_tokens"] for chunk in self.manifest["chunks"])

    @property
    def is_finished(self) -> bool:
        """Whether the recording came to its end; else the last tokens are missing."""
        return self.manifest["is_finished"]

    @property
    def n_bytes(self) -> int:
        """What the folder takes on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def chunks(self) -> Iterator[RouteRecord]:
        """Give the records of the chunks, one in memory at a time."""
        for chunk in self.manifest["chunks"]:
            yield self._read(chunk, slice(0, chunk["n_tokens"]))

    def read(self, start: int = 0, stop: int | None = None) -> RouteRecord:
        """Return the tokens from `start` up to `stop` as a record; nothing else is decoded.

        Raises:
            ValueError: there are no such tokens.
        """
        stop = len(self) if stop is None else stop
        refuse(
            not 0 <= start < stop <= len(self),
            f"There are {len(self)} tokens: from {start} up to {stop} is not a part of them.",
        )
        parts, begin = [], 0
        for chunk in self.manifest["chunks"]:
            end = begin + chunk["n_tokens"]
            if start < end and begin < stop:
                rows = slice(max(start - begin, 0), min(stop, end) - begin)
                parts.append(self._read(chunk, rows))
            begin = end
        return joined(parts, renumber=False)

    def _read(self, chunk: dict[str, Any], rows: slice) -> RouteRecord:
        with tensor_file.reading(self.folder / chunk["file"]) as file:
            columns = from_columns(file.read, file.names, rows)
        columns["sequence_ids"] += chunk["first_text"]
        said = self.manifest
        return RouteRecord(
            **columns,
            domains=tuple(said["domains"]),
            layers=tuple(said["layers"]),
            n_experts=said["n_experts"],
            weights_digest=said["weights_digest"],
        )


def open_routes(folder: Path | str) -> StoredRoutes:
    """Open what a `RouteWriter` wrote, or had written when it was stopped.

    Raises:
        FileNotFoundError: there are no routes in the folder.
        ValueError: they are of another format.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"There are no routes in {folder}: {MANIFEST} is missing.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        known = manifest.get("format")
    except (ValueError, AttributeError):
        known = None
    refuse(known != FORMAT, f"{path} is not a list of routes in format {FORMAT}: record again.")
    return StoredRoutes(Path(folder), manifest)
