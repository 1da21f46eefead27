"""Routes as a Parquet file, for whoever asks questions in SQL or with data frames.

A row for each token and layer: token_id, sequence_id, position, domain, layer, expert_ids (K),
gates (K), margin, and kept (K) where choices can drop. The file's metadata holds n_experts and
weights_digest.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from moe_teach.analysis.routes.record import RouteRecord
from moe_teach.config import refuse
from moe_teach.files import replacing

MISSING = (
    "Parquet files are written by pyarrow, which is not installed here: pip install "
    "'moe-teach[analysis]'."
)


def to_parquet(records: RouteRecord | Iterable[RouteRecord], path: Path | str) -> None:
    """Write a record, or many of one model one after the other, as one Parquet file, atomically.

    Of stored routes hand over `open_routes(folder).chunks()`: one chunk is in memory at a time.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: there is no record.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(MISSING) from None
    with replacing(Path(path)) as temporary:
        writer = None
        for record in [records] if isinstance(records, RouteRecord) else records:
            table = _table(pyarrow, record)
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(str(temporary), table.schema)
            writer.write_table(table)
        refuse(writer is None, "There is no record of routes to write.")
        writer.close()


def long_columns(record: RouteRecord) -> dict[str, np.ndarray]:
    """Return the columns, a row for each token and layer: (T * L,) or (T * L, K) of numbers.

    `domain` and `layer` are numbers of their names in the record.
    """
    n_tokens, n_layers = len(record), record.n_layers
    of_tokens = {
        "token_id": record.token_ids,
        "sequence_id": record.sequence_ids,
        "position": record.positions,
        "domain": record.domain_ids,
    }
    columns = {name: np.repeat(ids.numpy(), n_layers) for name, ids in of_tokens.items()}
    columns["layer"] = np.tile(np.arange(n_layers), n_tokens)
    columns["expert_ids"] = record.expert_ids.flatten(0, 1).numpy()
    columns["gates"] = record.gates.flatten(0, 1).numpy()
    columns["margin"] = record.margins.flatten().numpy()
    if record.kept is not None:
        columns["kept"] = record.kept.flatten(0, 1).numpy()
    return columns


def _table(pyarrow: Any, record: RouteRecord) -> Any:
    names = {"domain": record.domains, "layer": record.layers}
    narrow = {"expert_ids": np.uint16, "gates": np.float32, "margin": np.float32}
    arrays = {}
    for name, column in long_columns(record).items():
        if name in names:
            numbers = pyarrow.array(column.astype(np.int32))
            arrays[name] = pyarrow.DictionaryArray.from_arrays(numbers, list(names[name]))
            continue
        flat = pyarrow.array(column.astype(narrow.get(name, column.dtype)).reshape(-1))
        is_list = column.ndim == 2
        arrays[name] = (
            pyarrow.FixedSizeListArray.from_arrays(flat, record.top_k) if is_list else flat
        )
    said = {"n_experts": str(record.n_experts), "weights_digest": record.weights_digest}
    return pyarrow.table(arrays).replace_schema_metadata(said)
