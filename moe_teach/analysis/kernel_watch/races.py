"""Finding races: the interpreter runs one program after another and never shows one.

Programs of one launch run in any order on a GPU, and at the same time. So an element must not be
stored by two of them, nor stored by one and loaded by another, unless both go through atomics.
Separate launches wait for one another.
"""

import numpy as np

from moe_teach.analysis.kernel_watch.buffer import Buffer
from moe_teach.analysis.kernel_watch.records import (
    Access,
    Kind,
    Launch,
    ProgramId,
    Race,
    program_name,
)

_KINDS: tuple[Kind, ...] = ("load", "store", "atomic")


def races_within(
    launch: Launch,
    accesses: list[Access],
    programs: list[ProgramId],
    buffers: dict[str, Buffer],
) -> list[Race]:
    """Find the races of one launch, in the order of the buffers and of their elements.

    Addresses are compared, not names: two watched views of one memory race like one tensor. Such
    a race is told for the view in which the first of its accesses was seen.
    """
    names = list(buffers)
    written = [access for access in accesses if access.kind != "load"]
    if not written:
        return []
    touched = {buffer for buffer in names for a in accesses if a.buffer == buffer}
    rows = []
    for access in accesses:
        if access.buffer in touched:
            elements = np.unique(access.elements)
            row = np.empty((4, elements.size), dtype=np.int64)
            buffer = buffers[access.buffer]
            row[0] = buffer.base + buffer.offsets(elements)
            row[1] = access.program
            row[2] = _KINDS.index(access.kind)
            row[3] = names.index(access.buffer)
            rows.append(row)
    table = np.unique(np.concatenate(rows, axis=1), axis=1)  # sorted by address, then program
    starts = np.flatnonzero(np.diff(table[0], prepend=-1))
    found = []
    for group in np.split(table, starts[1:], axis=1):
        if _races(group):
            found.append(_race(group, launch, programs, buffers, names))
    return sorted(found, key=lambda race: (names.index(race.buffer), race.element))


def _races(group: np.ndarray) -> bool:
    """Whether one address is touched by two programs, written by one, and not only by atomics."""
    _, who, kind, _ = group
    if who[0] == who[-1]:
        return False
    stores, loads, atomics = (kind == 1), (kind == 0), (kind == 2)
    for writer in np.unique(who[stores]):
        if (who != writer).any():
            return True
    return any((who[loads] != writer).any() for writer in np.unique(who[atomics]))


def _race(
    group: np.ndarray,
    launch: Launch,
    programs: list[ProgramId],
    buffers: dict[str, Buffer],
    names: list[str],
) -> Race:
    address, who, kind, where = group
    buffer = buffers[names[int(where[0])]]
    element = int(buffer.elements(address[:1])[0][0])
    involved = tuple(int(program) for program in np.unique(who))
    kinds = tuple(_KINDS[code] for code in np.unique(kind))
    by_kind = {
        _KINDS[code]: [program_name(programs[p], launch.grid) for p in np.unique(who[kind == code])]
        for code in np.unique(kind)
    }
    return Race(buffer.name, element, involved, kinds, _sentence(buffer, element, by_kind))


def _sentence(buffer: Buffer, element: int, by_kind: dict[str, list[str]]) -> str:
    place = buffer.place(element)
    what = f"element {element} of {buffer.name}" + (f" ({place})" if place else "")
    stores, loads, atomics = (by_kind.get(kind, []) for kind in ("store", "load", "atomic"))
    if len(stores) > 1:
        return (
            f"Programs {_list(stores)} store {what}: on a GPU it is left open whose value stays. "
            "Give every element one owner, or use an atomic."
        )
    if stores and not atomics:
        others = [name for name in loads if name not in stores]
        return (
            f"Program {stores[0]} stores {what} and {_named(others)} it in the same "
            "launch: on a GPU it is left open which comes first. Use two launches."
        )
    return (
        f"{_named(atomics, 'Program', 'update')} {what} atomically, but "
        f"{_named(stores or loads, 'program', 'store' if stores else 'load')} it without: on a GPU "
        "it is left open which comes first. Use atomics only, or two launches."
    )


def _named(names: list[str], noun: str = "program", verb: str = "load") -> str:
    many = len(names) > 1
    return f"{noun}{'s' * many} {_list(names)} {verb}{'s' * (not many)}"


def _list(names: list[str]) -> str:
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
