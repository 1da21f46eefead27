"""One look for every figure of the course, and the way figures reach a notebook.

The palette is Okabe and Ito's (2008): colours that readers with any common colour vision can tell
apart. Figures never rely on colour alone: add markers, hatches or labels. A figure has no ground of
its own, and a notebook may be light or dark: whatever is neither data nor on a filled area is drawn
in `INK`, which stands out from white and from black alike.
"""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from IPython.display import display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from PIL import Image  # matplotlib writes its own pictures with it
from PIL.Image import Quantize

# 4.4 to 1 against white and 4.3 to 1 against JupyterLab's dark ground (WCAG's contrast ratio), the
# best that one grey can do for both.
INK = "#787878"
FAINT = (*mpl.colors.to_rgb(INK), 0.4)  # grids, guides, ranges: what may be overlooked
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")
MAX_BYTES = 150_000  # a figure's budget: lessons are read on the web, over slow lines too

_STYLE: dict[str, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.prop_cycle": mpl.cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.color": INK,
    "grid.alpha": 0.4,
    "hatch.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def figure(
    width: float = 7.0, height: float = 3.6, *, nrows: int = 1, ncols: int = 1, **subplots: Any
) -> tuple[Figure, Any]:
    """Open a figure of the course: size in inches, `subplots` as in `Figure.subplots`.

    It belongs to no global state (no pyplot), so nothing leaks from one cell into the next.
    """
    with mpl.rc_context(_STYLE):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        axes = drawing.subplots(nrows, ncols, **subplots)
    return drawing, axes


def described(drawing: Figure, alt: str) -> Figure:
    """Give a figure its alternative text: one or two sentences that say what is to be seen.

    It stands beside the code that draws, so that a lesson's cell does not tell the result first.
    """
    drawing.set_gid(alt)
    return drawing


def to_png(drawing: Figure, max_colours: int | None = None) -> bytes:
    """Render a figure, with fewer dots per inch where it would exceed the size budget.

    The ground is transparent: figures stand on light pages and on dark ones. `max_colours`
    reduces the picture to a table of that many colours (at most 256): a third of the bytes, for
    lessons that show many figures of one kind.
    """
    _ink(drawing)
    for dpi in (110, 90, 70, 50):
        with mpl.rc_context(_STYLE):
            buffer = io.BytesIO()
            options = {"compress_level": 1} if max_colours else {}  # compressed again below
            drawing.savefig(
                buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs=options
            )
        if max_colours:
            buffer = _with_few_colours(buffer, max_colours)
        if buffer.tell() <= MAX_BYTES:
            return buffer.getvalue()
    raise ValueError(
        f"This figure takes {buffer.tell():,} bytes even at 50 dots per inch; the budget is "
        f"{MAX_BYTES:,}. Draw fewer marks, or rasterise the dense ones at a lower resolution."
    )


def _ink(drawing: Figure) -> None:
    """Draw in `INK` what was written on the page without a colour of its own.

    The style holds while a figure is opened; its texts and legends come later.
    """
    for text in drawing.findobj(Text):
        if text.get_color() == mpl.rcParams["text.color"]:
            text.set_color(INK)
    for legend in drawing.findobj(Legend):
        legend.set_frame_on(False)


def _with_few_colours(png: io.BytesIO, count: int) -> io.BytesIO:
    reduced = io.BytesIO()
    Image.open(png).convert("RGBA").quantize(count, Quantize.FASTOCTREE).save(
        reduced, "PNG", optimize=True
    )
    return reduced


def show_figure(drawing: Figure, max_colours: int | None = None) -> None:
    """Display a figure with its alternative text (see `described`).

    Raises `ValueError` for a figure without one.
    """
    alt = (drawing.get_gid() or "").strip()
    if not alt:
        raise ValueError(
            "This figure has no alternative text. Give it one where it is drawn: "
            "`described(drawing, ...)` with a sentence that says what it shows."
        )
    bundle = {"image/png": to_png(drawing, max_colours), "text/plain": alt}
    display(bundle, raw=True, metadata={"image/png": {"alt": alt}})


def colours(count: int) -> list[str]:
    """Give `count` colours, repeating the palette; pair them with MARKERS or HATCHES."""
    return [PALETTE[i % len(PALETTE)] for i in np.arange(count)]
