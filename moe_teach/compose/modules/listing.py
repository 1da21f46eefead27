"""The list of a checkpoint's modules, as its record holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_teach.compose.modules.manifest import Manifest, manifest_from
from moe_teach.config import refuse

LIST = "modules"


@dataclass(frozen=True)
class Installed:
    """One line of the list: the module's label with the places it took, its digest, and the file
    that keeps what stood there before.
    """

    manifest: Manifest
    digest: str
    replaced: str

    def as_table(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "manifest": self.manifest.as_table(),
            "digest": self.digest,
            "replaced": self.replaced,
        }


def entries_of(meta: Mapping[str, Any], folder: Path) -> tuple[Installed, ...]:
    """Read the list out of a checkpoint's record.

    Raises:
        ValueError: it is not as the course writes it.
    """
    said = meta.get(LIST, [])
    return tuple(_entry(one, folder) for one in (said if isinstance(said, list) else [said]))


def _entry(said: Any, folder: Path) -> Installed:
    """Read one line of the list, which whoever made the checkpoint has written."""
    kinds = {"manifest": dict, "digest": str, "replaced": str}
    refuse(
        not isinstance(said, dict)
        or any(not isinstance(said.get(name), kind) for name, kind in kinds.items())
        or Path(said["replaced"]).name != said["replaced"],
        f"The list of modules in {folder} is not one that the course writes: bring back a copy.",
    )
    manifest = manifest_from(said["manifest"], str(folder))
    return Installed(manifest, said["digest"], said["replaced"])


def entry_named(listed: Sequence[Installed], name: str, folder: Path) -> Installed:
    """Return the line of a name.

    Raises:
        ValueError: there is none; the sentence says which there are.
    """
    for entry in listed:
        if entry.manifest.name == name:
            return entry
    names = ", ".join(one.manifest.name for one in listed)
    there = f"there is {names}" if listed else "nothing is installed there"
    raise ValueError(f"No module called {name} is installed in {folder}: {there}.")


def demand_on_top(listed: Sequence[Installed], entry: Installed) -> None:
    """Refuse to take out what other modules were installed over.

    Raises:
        ValueError: names them.
    """
    later = listed[listed.index(entry) + 1 :]
    on_top = [
        one.manifest.name for one in later if set(one.manifest.places) & set(entry.manifest.places)
    ]
    refuse(
        bool(on_top),
        f"{', '.join(on_top)} was installed over {entry.manifest.name}: remove that first.",
    )
