"""Finding races: the interpreter runs one program after another and never shows one.

Programs of one launch run in any order on a GPU, and at the same time. So an element must not be
stored by one program and stored or loaded by another, unless both go through atomics; and within
one `tl.store` two lanes must not bring different values to it. Launches wait for one another.
"""

import numpy as np
from numpy.typing import NDArray

from moe_teach.analysis.kernel_watch.recorder import Recorder
from moe_teach.analysis.kernel_watch.records import WRITES, Access, Race, program_name
from moe_teach.analysis.kernel_watch.told import Told

_LOAD, _STORE, _ATOMIC_LOAD, _ATOMIC_WRITE = range(4)
_CODES = {
    "load": _LOAD,
    "store": _STORE,
    "atomic load": _ATOMIC_LOAD,
    "atomic store": _ATOMIC_WRITE,
    "atomic": _ATOMIC_WRITE,
}
_KIND_OF = {
    _LOAD: "load",
    _STORE: "store",
    _ATOMIC_LOAD: "atomic load",
    _ATOMIC_WRITE: "atomic",
}
Table = NDArray[np.int64]  # rows: address, program, code, number of the buffer


def races_of(recorder: Recorder) -> list[Race]:
    """Find the races of a record with one launch, in the order of buffers and elements.

    Addresses are compared, not names: two watched views of one memory race like one tensor, and
    the race is told for the view that the lowest of its programs used.
    """
    order = {buffer.name: number for number, buffer in enumerate(recorder.buffers)}
    found = [
        _quarrel(recorder, c.program, c.buffer, e)
        for c in recorder.collisions
        for e in c.elements.tolist()
    ]
    table = _table(recorder)
    for group in _racing(table):
        found.append(_race(recorder, group))
    return sorted(found, key=lambda race: (order[race.buffer], race.element))


def _table(recorder: Recorder) -> Table:
    """List who did what at which address that somebody wrote, sorted by address."""
    buffers = {buffer.name: (n, buffer) for n, buffer in enumerate(recorder.buffers)}

    def rows(accesses: list[Access]) -> Table:
        where = [buffers[access.buffer] for access in accesses]
        facts = [
            (access.program, _CODES[access.kind], number)
            for access, (number, _) in zip(accesses, where, strict=True)
        ]
        sizes = [access.elements.size for access in accesses]
        addresses = [
            buffer.base + buffer.offsets(access.elements)
            for access, (_, buffer) in zip(accesses, where, strict=True)
        ]
        return np.vstack([np.concatenate(addresses), np.repeat(np.array(facts).T, sizes, axis=1)])

    writes = [access for access in recorder.accesses if access.kind in WRITES]
    reads = [access for access in recorder.accesses if access.kind not in WRITES]
    if not writes:
        return np.empty((4, 0), dtype=np.int64)
    table = rows(writes)
    if reads:
        read = rows(reads)
        table = np.hstack([table, read[:, np.isin(read[0], table[0])]])
    return table[:, np.lexsort(table[::-1])]


def _racing(table: Table) -> list[Table]:
    """Cut out the addresses over which programs race.

    A plain store races with whatever another program does there; an atomic write races with a
    plain load of another program.
    """
    if not table.size:
        return []
    address, program, code, _ = table
    starts = np.flatnonzero(np.diff(address, prepend=-1))

    def extent(chosen: NDArray[np.bool_]) -> tuple[Table, Table]:
        """Return the lowest and highest program among the chosen entries of each address."""
        low = np.minimum.reduceat(np.where(chosen, program, np.iinfo(np.int64).max), starts)
        return low, np.maximum.reduceat(np.where(chosen, program, -1), starts)

    low, high = extent(np.ones_like(code, dtype=bool))
    stored = extent(code == _STORE)[1] >= 0
    write_low, write_high = extent(code == _ATOMIC_WRITE)
    load_low, load_high = extent(code == _LOAD)
    mixed = (write_high >= 0) & (load_high >= 0)
    several = np.minimum(write_low, load_low) != np.maximum(write_high, load_high)
    racing = (stored & (low != high)) | (mixed & several)
    ends = np.append(starts[1:], address.size)
    return [table[:, starts[i] : ends[i]] for i in np.flatnonzero(racing)]


def _race(recorder: Recorder, group: Table) -> Race:
    address, who, code, where = group
    buffer = recorder.buffers[int(where[0])]
    element = int(buffer.elements(address[:1])[0][0])
    codes = [int(c) for c in np.unique(code)]
    names = {c: _names(recorder, np.unique(who[code == c]).tolist()) for c in codes}
    what = _what(recorder, buffer.name, element)
    return Race(
        buffer.name,
        element,
        tuple(np.unique(who).tolist()),
        tuple(_KIND_OF[c] for c in codes),
        _told(what, names),
    )


def _quarrel(recorder: Recorder, program: int, name: str, element: int) -> Race:
    who = _names(recorder, [program])[0]
    return Race(
        name,
        element,
        (program,),
        ("store",),
        Told(
            f"Program {who} stores different values to {_what(recorder, name, element)} in one "
            "tl.store: on a GPU it is left open whose value stays.",
            "Two of its lanes have the same address.",
            "Give every lane a place of its own.",
        ),
    )


def _names(recorder: Recorder, programs: list[int]) -> list[str]:
    grid = recorder.launches[0].grid
    return [program_name(recorder.programs[program], grid) for program in programs]


def _what(recorder: Recorder, name: str, element: int) -> str:
    buffer = next(buffer for buffer in recorder.buffers if buffer.name == name)
    place = buffer.place(element)
    return f"element {element} of {name}" + (f" ({place})" if place else "")


def _told(what: str, names: dict[int, list[str]]) -> Told:
    stores = names.get(_STORE, [])
    if len(stores) > 1:
        return Told(
            f"Programs {_and(stores)} {'both' if len(stores) == 2 else 'all'} store {what}: on a "
            "GPU it is left open whose value stays.",
            "An address does not depend on the program as it should, or two programs share a task.",
            "Give every element one owner, or use an atomic.",
        )
    atomics = names.get(_ATOMIC_WRITE, []) or names.get(_ATOMIC_LOAD, [])
    if stores and not atomics:
        others = [name for name in names[_LOAD] if name not in stores]
        return Told(
            f"Program {stores[0]} stores {what}, and {_who(others, 'load')} it in the same launch: "
            "on a GPU it is left open which comes first.",
            "Programs of one launch do not wait for one another.",
            "Use two launches.",
        )
    plain, verb = (stores, "store") if stores else (names[_LOAD], "load")
    what = (
        f"{_who(atomics, 'touch')} {what} atomically, but {_who(plain, verb)} it without: on a "
        "GPU it is left open which comes first."
    )
    return Told(
        what.replace("program", "Program", 1),
        "An atomic settles the order among atomics only.",
        "Use atomics only, or two launches.",
    )


def _who(names: list[str], verb: str) -> str:
    if len(names) > 1:
        return f"programs {_and(names)} {verb}"
    return f"program {names[0]} {verb}{'es' if verb.endswith('ch') else 's'}"


def _and(names: list[str]) -> str:
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} others"]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
