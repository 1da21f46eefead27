"""Routes on disk: written chunk by chunk while they are made, read back lazily.

    with RouteWriter(folder) as writer:
        for record in routes_by_batch(model, batches, domains):
            writer.add(record)
    routes = open_routes(folder)      # nothing is read but a page of JSON
    routes.read(100_000, 100_064)     # a `RouteRecord` of these tokens

A folder holds `routes.json`, which names the chunks and says of which weights they are, and one
safetensors file for each chunk. Every file is whole or not there, and a chunk is named only when
it is whole: a recording that is killed keeps all the chunks it had finished, and goes on from them:

    with RouteWriter(folder, resume=True) as writer:
        for record in routes_by_batch(model, writer.rest(batches), domains):
            writer.add(record)
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from moe_teach.analysis.routes.compact import to_columns
from moe_teach.analysis.routes.record import RouteRecord, demand_alike, joined
from moe_teach.analysis.routes.stored import FORMAT, MANIFEST, StoredRoutes, open_routes
from moe_teach.checkpoint import tensor_file
from moe_teach.checkpoint.tensor_file import Entry
from moe_teach.config import refuse
from moe_teach.data.batches import Batch, text_mask
from moe_teach.files import write_atomically

__all__ = ["CHUNK_TOKENS", "RouteWriter", "StoredRoutes", "open_routes"]

CHUNK_TOKENS = 65_536  # of 8 experts in 16 layers: 19 MB on disk, 160 MB while it is made
_HALVES = (".chunk-*.tmp", f".{MANIFEST}-*.tmp")  # what a kill can leave behind


class RouteWriter:
    """Write records as they come; use it in a `with` block.

    Args:
        folder: that is not there yet, or is empty.
        chunk_tokens: a chunk is written as soon as there are so many; what a kill can cost.
        exact: keep gates and margins in float32, at twice the size; else they are rounded as
            `moe_teach.analysis.routes.compact` says.
        resume: go on with a recording that was stopped, if the folder holds one: from its whole
            chunks, so that in the end all files are those of a recording that was never stopped.
            Hand over the batches that `rest` leaves.

    Raises:
        FileExistsError: the folder holds something, which is left alone; with `resume`, something
            that is no recording.
        ValueError: the recording is finished, has other chunks, or a chunk was damaged.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        chunk_tokens: int = CHUNK_TOKENS,
        exact: bool = False,
        resume: bool = False,
    ) -> None:
        refuse(chunk_tokens < 1, f"A chunk has at least one token; chunk_tokens is {chunk_tokens}.")
        self.folder, self.chunk_tokens, self.exact = Path(folder), chunk_tokens, exact
        self._waiting: list[RouteRecord] = []
        self._first: RouteRecord | None = None  # no token of it: what all others must be like
        self._chunks: list[dict[str, Any]] = []
        self._n_texts = 0
        if resume and (self.folder / MANIFEST).is_file():
            self._take_up(open_routes(self.folder))
        else:
            self._demand_empty(resume)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def n_batches(self) -> int:
        """How many batches the chunks hold that are written."""
        return sum(chunk["n_batches"] for chunk in self._chunks)

    def rest(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Give the batches that are not in the chunks yet: those that are left to be recorded.

        Args:
            batches: all of them, from the first one on, as the recording was begun with.

        Raises:
            ValueError: those before are not the ones in the chunks.
        """
        given = iter(batches)
        for chunk in self._chunks:
            before = [
                batch.inputs[text_mask(batch.targets, batch.real)].cpu()
                for batch in islice(given, chunk["n_batches"])
            ]
            with tensor_file.reading(self.folder / chunk["file"]) as file:
                recorded = file.read("token_ids").to(torch.int64, copy=True)
            refuse(
                not torch.equal(torch.cat([recorded[:0], *before]), recorded),
                f"{self.folder} holds the routes of other tokens than the first of these batches: "
                "go on with the batches it was begun with, in their order, or name a new folder.",
            )
        yield from given

    def add(self, record: RouteRecord) -> None:
        """Take the next tokens, a batch of them; their texts are numbered on.

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

    def _demand_empty(self, resume: bool) -> None:
        """Refuse a folder that holds something; an unnamed first chunk is none of anybody's."""
        if not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())):
            return
        killed_early = (_name_of(0), *_HALVES)
        if not (
            resume
            and self.folder.is_dir()
            and all(any(map(path.match, killed_early)) for path in self.folder.iterdir())
        ):
            raise FileExistsError(
                f"{self.folder} is there already, and what it holds is left alone: name a folder "
                "that is not there or is empty."
            )
        self._clear_halves()

    def _take_up(self, begun: StoredRoutes) -> None:
        """Go on after the last whole chunk.

        A shorter one, which an error ends, stays where it is until it is recorded again in full.
        """
        said = begun.manifest
        refuse(begun.is_finished, f"The recording in {self.folder} is finished already.")
        refuse(
            "chunk_tokens" not in said,
            f"The recording in {self.folder} is of an earlier release, which did not write down "
            "how far it had come: it can be read, but not gone on with.",
        )
        mine = {"chunk_tokens": self.chunk_tokens, "exact": self.exact}
        refuse(
            any(said[name] != value for name, value in mine.items()),
            f"The recording in {self.folder} was begun with chunk_tokens={said['chunk_tokens']} "
            f"and exact={said['exact']}: go on with the same.",
        )
        self._chunks = [one for one in said["chunks"] if one["n_tokens"] >= self.chunk_tokens]
        for chunk in self._chunks:
            file = self.folder / chunk["file"]
            refuse(
                not file.is_file() or tensor_file.digest_of(file) != chunk["sha256"],
                f"{file} is not as it was written: record again, in a new folder.",
            )
        self._first = begun.read(0, 1).only(slice(0, 0))
        if self._chunks:
            self._n_texts = begun.of_chunk(self._chunks[-1]).n_texts
        self._clear_halves()

    def _clear_halves(self) -> None:
        for pattern in _HALVES:
            for half in self.folder.glob(pattern):
                half.unlink(missing_ok=True)

    def _write_chunk(self) -> None:
        whole = joined(self._waiting)
        file = _name_of(len(self._chunks))
        columns = to_columns(whole, self.exact)
        entries = [Entry.of(name, column) for name, column in columns.items()]
        said = {"file": file, "n_tokens": len(whole), "n_batches": len(self._waiting)}
        said |= {"first_text": self._n_texts}
        said |= {"sha256": tensor_file.write(self.folder / file, entries)}
        self._chunks.append(said)
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
            "chunk_tokens": self.chunk_tokens,
            "exact": self.exact,
            "chunks": self._chunks,
        }
        write_atomically(self.folder / MANIFEST, json.dumps(said, indent=1).encode())


def _name_of(chunk: int) -> str:
    return f"chunk-{chunk:05d}.safetensors"
