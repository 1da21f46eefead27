"""Pictures of the machine that runs a kernel: a GPU from outside to inside, and one program in it.

The numbers are those of NVIDIA's H100 with SXM5 socket, from NVIDIA's "H100 Tensor Core GPU
Architecture" paper (2022), its Hopper tuning guide, and its data sheet. Other GPUs have the same
parts in other numbers.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from moe_teach.chapters.ch09_triton_dispatch.figures import ON_FILL, Number, pastel
from moe_teach.plots.style import FAINT, HATCHES, INK, PALETTE, described, figure

BLUE, ORANGE, GREEN, RED = PALETTE[:4]
SMS = 132  # streaming multiprocessors
COLUMNS, ROWS = 12, 11  # how they are drawn, and 12 * 11 = 132


def gpu(n_programs: int) -> Figure:
    """Draw an H100: its memory, its 132 multiprocessors with some programs on them, and one of them
    from near.

    Raises `ValueError` for more programs than multiprocessors.
    """
    if not 0 < n_programs <= SMS:
        raise ValueError(f"{n_programs} programs: 1 to {SMS} can be drawn, one on each SM.")
    drawing, axes = figure(8.6, 5.3)
    axes.set(xlim=(0, 100), ylim=(-1, 62))
    axes.axis("off")
    _chip(axes, n_programs)
    _near(axes)
    return described(
        drawing,
        f"Left, an H100: {n_programs} programs, each on one of 132 multiprocessors (SMs), below "
        "them the L2 cache of 50 MB that all share, and below that 80 GB of HBM, where every "
        "tensor lives. Right, one SM from near: four quarters, each with 64 KB of registers, 32 "
        "threads that work in step, and a tensor core; under them 256 KB of shared memory and L1 "
        "cache.",
    )


def _chip(axes: Any, n_programs: int) -> None:
    wide, high = 40 / COLUMNS, 30 / ROWS
    _note(axes, 22, 59.5, "the GPU: 132 SMs", size=11)
    programs = {_sm_of(program): program for program in range(n_programs)}
    for sm in range(SMS):
        left, low = 2 + sm % COLUMNS * wide, 54 - sm // COLUMNS * high
        program = programs.get(sm)
        look = (
            {"fc": "none", "ec": FAINT} if program is None else {"fc": pastel(ORANGE), "ec": ORANGE}
        )
        axes.add_patch(Rectangle((left, low), wide * 0.8, high * 0.78, lw=1, **look))
        if program is not None:
            text = str(program)
            _note(axes, left + wide * 0.4, low + high * 0.37, text, size=8, colour=ON_FILL)
    _box(axes, (2, 16, 39.4, 4.5), GREEN, "L2 cache: 50 MB, one for all SMs")
    _box(axes, (2, 0, 39.4, 9.5), BLUE, "")
    _note(axes, 21.7, 7.3, "HBM: 80 GB, 3.35 TB/s", colour=ON_FILL)
    for place, name in enumerate(("ids", "counts", "x", "rows", "out")):
        left = 4.2 + place * 7.4
        axes.add_patch(Rectangle((left, 1.2), 6.2, 3.6, fc="none", ec=ON_FILL, lw=0.8))
        _note(axes, left + 3.1, 2.9, name, size=8.5, colour=ON_FILL)
    for low, high_end in ((9.9, 15.6), (20.9, 25.9)):
        _arrow(axes, (21.7, low), (21.7, high_end), both=True)
    _note(axes, 23.2, 12.7, "load, store", size=8.5, align="left")


def _sm_of(program: int) -> int:
    """Put program 0 where the view from near can start, and the others somewhere, each alone."""
    return (2 * COLUMNS - 1 + 37 * program) % SMS  # 37 and 132 have no common divisor


def _near(axes: Any) -> None:
    _note(axes, 77, 59.5, "the SM that program 0 runs on", size=11)
    axes.add_patch(
        FancyBboxPatch(
            (55, 0), 44, 57, boxstyle="round,pad=0,rounding_size=1.2", fc="none", ec=ORANGE
        )
    )
    for y_chip, y_near in ((53.4, 56.2), (51.3, 0.8)):  # what is drawn near is the SM of program 0
        axes.plot([41.5, 55], [y_chip, y_near], color=ORANGE, lw=0.9, zorder=0)
    for quarter in range(4):
        left = 57 + quarter * 10.2
        axes.add_patch(Rectangle((left, 20), 9.4, 34, fc="none", ec=FAINT, lw=1))
        _box(axes, (left + 0.7, 44, 8, 8.6), ORANGE, "registers\n64 KB", size=8.5)
        _threads_of_warp(axes, left + 0.7)
        _box(axes, (left + 0.7, 21.4, 8, 7), RED, "tensor\ncore", size=8.5)
    _box(
        axes,
        (57, 8.5, 40, 8),
        GREEN,
        "shared memory and L1 cache: 256 KB\n(227 KB of it for one program)",
    )
    _note(axes, 77, 4.2, "4 warps of 32 threads share a program's lanes;", size=8.5)
    _note(axes, 77, 1.9, "warps meet in shared memory", size=8.5)


def _threads_of_warp(axes: Any, left: Number) -> None:
    """Draw the 32 threads of a warp, eight in a row."""
    for thread in range(32):
        corner = (left + thread % 8, 40.4 - thread // 8 * 2.6)
        axes.add_patch(Rectangle(corner, 0.8, 2, fc=pastel(PALETTE[5]), ec="none"))
    _note(axes, left + 4, 31, "32 threads", size=8)


def journey(at: Sequence[int], ids: Sequence[int], block: int, n_experts: int, e: int) -> Figure:
    """Draw where the numbers of one counting program are, line by line of its kernel.

    `at` and `ids` are the places and the experts of the lanes that the mask leaves on, of `block`;
    `e` is the expert that the loop is at. The program's own number follows from them.
    """
    program = at[0] // block
    every = [str(at[0] + lane) for lane in range(block)]
    held = [str(expert) for expert in ids] + [str(n_experts)] * (block - len(ids))
    hits = [str(int(expert == str(e))) for expert in held]
    mine = str(sum(map(int, hits)))
    drawing, axes = _frame_of_journey()
    steps = (
        ("at = ... + tl.arange(0, BLOCK)", [], every, ""),
        ("ids = tl.load(ids_ptr + at, ...)", [str(i) for i in ids], held, "right"),
        (f"ids == e,  with e = {e}", [], hits, ""),
        ("mine = tl.sum(...)", [], [mine], ""),
        (f"tl.store(counts_ptr + {program} * E + {e})", [mine], [mine], "left"),
    )
    for row, step in enumerate(steps):
        _step(axes, 33.5 - row * 8, *step, len(ids) if len(step[2]) == block else block)
    _note(axes, 71, 11.4, "lanes meet here; warps in shared memory", size=8, align="left")
    return described(
        drawing,
        f"Program {program} of the count, line by line: the places are made in registers, "
        f"{len(ids)} experts come from HBM and {block - len(ids)} idle lanes hold {n_experts}, the "
        f"comparison and the sum stay in registers, and one number, {mine}, goes back to HBM.",
    )


def _frame_of_journey() -> tuple[Figure, Any]:
    """Open the picture of a journey: three columns, and what a hatched lane is."""
    drawing, axes = figure(8.6, 4.0)
    axes.set(xlim=(0, 100), ylim=(-6, 44))
    axes.axis("off")
    columns = ((16, "the line", INK), (46.5, "HBM", BLUE), (79.5, "registers", ORANGE))
    for x, title, colour in columns:
        _note(axes, x, 42, title, size=11, colour=colour)
    _cells(axes, 44, -5, [""], ORANGE, 0)
    said = "switched off by the mask: holds what `other` says"
    _note(axes, 48.5, -3.1, said, align="left", size=8.5)
    return drawing, axes


def _step(
    axes: Any, y: Number, line: str, memory: Sequence[str], held: Sequence[str], way: str, idle: int
) -> None:
    """Draw one line of a kernel: what it moves between memory and registers, which way."""
    _note(axes, 0, y + 2, line, size=8.5, align="left", family="monospace")
    _cells(axes, 66, y, held, ORANGE, idle)
    _cells(axes, 44, y, memory, BLUE, idle)
    ends = (44.6 + 3.4 * len(memory), y + 1.9), (65.4, y + 1.9)
    if memory:
        _arrow(axes, *(ends if way == "right" else ends[::-1]))


def _cells(axes: Any, x: Number, y: Number, texts: Sequence[str], colour: str, idle: int) -> None:
    for place, text in enumerate(texts):
        off = place >= idle
        look = (
            {"fc": "none", "hatch": HATCHES[1], "ec": FAINT}
            if off
            else {"fc": pastel(colour), "ec": colour}
        )
        axes.add_patch(Rectangle((x + 3.4 * place, y), 3.1, 3.8, lw=0.8, **look))
        shade = INK if off else ON_FILL
        _note(axes, x + 3.4 * place + 1.55, y + 1.8, text, size=8.5, colour=shade)


def _box(axes: Any, frame: tuple[Number, ...], colour: str, text: str, size: Number = 9.5) -> None:
    left, low, wide, high = frame
    shape = "round,pad=0,rounding_size=0.7"
    look = {"fc": pastel(colour), "ec": colour, "lw": 1.2}
    axes.add_patch(FancyBboxPatch((left, low), wide, high, boxstyle=shape, **look))
    _note(axes, left + wide / 2, low + high / 2, text, size=size, colour=ON_FILL)


def _arrow(
    axes: Any, start: tuple[Number, Number], end: tuple[Number, Number], both: bool = False
) -> None:
    style = "<|-|>" if both else "-|>"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=11, color=INK, lw=1.4)
    )


def _note(
    axes: Any, x: Number, y: Number, text: str, *, size: Number = 9.5, colour: str = INK,
    align: str = "center", **font: Any,
) -> None:  # fmt: skip
    axes.text(x, y, text, ha=align, va="center", fontsize=size, color=colour, **font)
