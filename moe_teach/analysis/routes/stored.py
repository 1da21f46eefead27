"""Routes read back from the folder that `moe_teach.analysis.routes.store` wrote."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_teach.analysis.routes.compact import from_columns
from moe_teach.analysis.routes.record import RouteRecord, joined
from moe_teach.checkpoint import tensor_file
from moe_teach.config import refuse

MANIFEST, FORMAT = "routes.json", 1


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
            yield self.of_chunk(chunk)

    def of_chunk(self, chunk: dict[str, Any]) -> RouteRecord:
        """Give the record of a chunk that the manifest names."""
        return self._read(chunk, slice(0, chunk["n_tokens"]))

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
