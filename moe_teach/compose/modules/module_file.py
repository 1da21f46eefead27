"""A module as a file: safetensors that any program opens, with a label and a digest in its header.

The digest covers the label and every number. It says that the file is what its maker packed, not
who the maker is: for that, compare it with the one that they publish.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from moe_teach.checkpoint import tensor_file
from moe_teach.checkpoint.digests import digest_of_tensors
from moe_teach.checkpoint.tensor_file import Entry, Reader
from moe_teach.compose.modules.manifest import Manifest, Place, manifest_from
from moe_teach.compose.slots import ExpertSlot
from moe_teach.config import refuse

_LABEL, _DIGEST = "moe_teach.module", "moe_teach.sha256"
SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False)
class ExpertModule:
    """A module in memory: its label, and for each of its places what stands there."""

    manifest: Manifest
    slots: Mapping[Place, ExpertSlot]

    @property
    def digest(self) -> str:
        """The SHA-256 of label and numbers."""
        return _digest(self.manifest, _tensors(self.slots))

    @property
    def n_params(self) -> int:
        """How many numbers it brings."""
        return sum(tensor.numel() for tensor in _tensors(self.slots).values())


def write_module(module: ExpertModule, file: Path) -> None:
    """Write a module, atomically; a file that is there already is replaced as a whole."""
    tensors = _tensors(module.slots)
    tensor_file.write(
        file,
        [Entry.of(name, tensor) for name, tensor in tensors.items()],
        {
            "format": "pt",
            _LABEL: json.dumps(module.manifest.as_table()),
            _DIGEST: _digest(module.manifest, tensors),
        },
    )


def read_module(file: Path) -> ExpertModule:
    """Read a module and check it against its digest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no module, is damaged, or was written by a newer version.
    """
    with tensor_file.reading(file) as reader:
        manifest, digest = _label(reader, file)
        tensors = {name: reader.read(name).clone() for name in reader.names}
    refuse(
        _digest(manifest, tensors) != digest,
        f"{file} is not what its maker packed: its numbers or its label were changed. Get it again "
        "from where it came from.",
    )
    return ExpertModule(manifest, _slots(manifest, tensors, file))


def claims_to_be_module(file: Path) -> bool:
    """Say whether a file calls itself a module, good or damaged."""
    try:
        with tensor_file.reading(file) as reader:
            return _LABEL in reader.metadata
    except (OSError, ValueError):
        return False


def _label(reader: Reader, file: Path) -> tuple[Manifest, str]:
    said = reader.metadata
    refuse(
        _LABEL not in said or _DIGEST not in said,
        f"{file} holds tensors, but no expert module: `moe-teach expert pack` writes those.",
    )
    try:
        table = json.loads(said[_LABEL])
    except (ValueError, RecursionError):
        table = None
    refuse(not isinstance(table, dict), f"The label of {file} cannot be read: get the file again.")
    return manifest_from(table, str(file)), said[_DIGEST]


def _tensors(slots: Mapping[Place, ExpertSlot]) -> dict[str, Tensor]:
    return {
        f"layers.{place.layer}.{name}": tensor
        for place, slot in slots.items()
        for name, tensor in slot.tensors().items()
    }


def _slots(
    manifest: Manifest, tensors: Mapping[str, Tensor], file: Path
) -> dict[Place, ExpertSlot]:
    slots = {}
    for place in manifest.where():
        front = f"layers.{place.layer}."
        own = {name.removeprefix(front): t for name, t in tensors.items() if name.startswith(front)}
        refuse(not own, f"{file} says that it holds {place}, but there is no tensor of that layer.")
        slots[place] = ExpertSlot.of(own)
    strange = sorted(tensors.keys() - _tensors(slots).keys())
    refuse(bool(strange), f"{file} holds {strange[:1]}, of which its label says nothing.")
    return slots


def _digest(manifest: Manifest, tensors: Mapping[str, Tensor]) -> str:
    said = json.dumps(manifest.as_table(), sort_keys=True).encode()
    return digest_of_tensors(tensors.items(), said)
