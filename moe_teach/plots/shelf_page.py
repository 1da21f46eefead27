"""The page about a folder of expert modules: what each is for, what it fits, what it changed."""

from html import escape
from pathlib import Path

from moe_teach.compose.modules.manifest import Measured
from moe_teach.compose.modules.module_file import (
    SUFFIX,
    ExpertModule,
    claims_to_be_module,
    read_module,
)
from moe_teach.config import refuse
from moe_teach.files import write_atomically
from moe_teach.plots.page import page, table

_STYLE = """
.gain { fill: #0072b2; }
.cost { fill: #d55e00; }
code { overflow-wrap: anywhere; }
.card dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1rem; }
.card dt { color: var(--faint); }
.card dd { margin: 0; }
"""
_TITLE = "Expert modules"
_WIDTH, _ROW, _MIDDLE = 620, 26, 380  # of a picture: units, of a row, where nothing changes
_REACH = 150  # units of the longest bar


def write_index(folder: Path) -> tuple[Path, list[str]]:
    """Write `index.html` into a folder of modules; the same files give the same page.

    Args:
        folder: with modules, as `moe-teach expert pack` writes them.

    Returns:
        The page, and a sentence for each file that was left out.

    Raises:
        ValueError: there is no module in the folder, or an `index.html` that is no such page.
    """
    refuse(not folder.is_dir(), f"There is no folder {folder}.")
    modules, left_out = [], []
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        if not claims_to_be_module(file):
            left_out.append(f"{file.name} is left out: it is no expert module.")
            continue
        try:
            modules.append((file, read_module(file)))
        except ValueError as problem:
            left_out.append(f"{file.name} is left out: {problem}")
    refuse(not modules, f"{folder} holds no module that can be read. {' '.join(left_out)}".strip())
    index = folder / "index.html"
    refuse(
        index.exists() and f"<title>{_TITLE}</title>" not in index.read_text("utf-8", "replace"),
        f"{index} is there already and is no page of modules, so it is left alone: move it, or "
        "keep modules in a folder of their own.",
    )
    # Names of files may hold what is no text.
    write_atomically(index, shelf_page(modules, left_out).encode(errors="replace"))
    return index, left_out


def shelf_page(modules: list[tuple[Path, ExpertModule]], left_out: list[str]) -> str:
    """Return the page: one card a module, and under them which of them go together."""
    trunks = sorted({module.manifest.trunk for _, module in modules})
    fit = "one trunk" if len(trunks) == 1 else f"{len(trunks)} trunks, which cannot be mixed"
    intro = (
        f"<h1>{_TITLE}</h1>",
        f'<p class="faint">{len(modules)} modules for {fit}. Gains and losses are what their '
        "makers measured, in nats per token, each beside the model it was made of; two modules "
        "together were not measured.</p>",
    )
    cards = [_card(file, module) for file, module in modules]
    missing = [f"<p>{escape(line)}</p>" for line in left_out]
    return page(_TITLE, *intro, *cards, *missing, style=_STYLE)


def _card(file: Path, module: ExpertModule) -> str:
    label = module.manifest
    facts = {
        "for": label.domain or "not said",
        "stands in": "; ".join(str(place) for place in label.where()),
        "fits trunk": f"<code>{escape(label.trunk[:16])}</code>",
        "licence": label.licence or "not said",
        "size": f"{module.n_params:,} numbers of {label.dtype}, {file.stat().st_size / 1e3:.0f} kB",
        "SHA-256": f"<code>{module.digest}</code>",
    }
    plain = {"fits trunk", "SHA-256"}
    rows = "".join(
        f"<dt>{name}</dt><dd>{value if name in plain else escape(value)}</dd>"
        for name, value in facts.items()
    )
    note = f"<p>{escape(label.note)}</p>" if label.note else ""
    return (
        f'<section class="card"><header><h2>{escape(label.name)}</h2></header>{note}'
        f"<dl>{rows}</dl>{_effect(label.measured)}"
        f"<p><code>moe-teach expert install CHECKPOINT {escape(file.name)}</code></p></section>"
    )


def _effect(measured: tuple[Measured, ...]) -> str:
    if not measured:
        return "<p>Nobody has measured what it changes.</p>"
    rows = [
        (escape(one.domain), f"{one.before:.3f}", f"{one.after:.3f}", f"{one.gain:+.3f}")
        for one in measured
    ]
    header = ("text", "without", "with", "gain")
    return _bars(measured) + table(header, rows, numbers=(1, 2, 3))


def _bars(measured: tuple[Measured, ...]) -> str:
    """Draw gains to the right and losses to the left of one line, on one scale."""
    largest = max(abs(one.gain) for one in measured) or 1.0
    height = _ROW * len(measured) + 8
    marks = [
        f'<line x1="{_MIDDLE}" x2="{_MIDDLE}" y1="0" y2="{height}"></line>',
    ]
    for i, one in enumerate(measured):
        length = abs(one.gain) / largest * _REACH
        left = _MIDDLE if one.gain >= 0 else _MIDDLE - length
        y = _ROW * i + 4
        kind, end = ("gain", "start") if one.gain >= 0 else ("cost", "end")
        edge = _MIDDLE + (length + 6 if one.gain >= 0 else -length - 6)
        marks.append(f'<text x="0" y="{y + 15}">{escape(one.domain)}</text>')
        marks.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{y}" width="{length:.1f}" height="18"></rect>'
            f'<text x="{edge:.1f}" y="{y + 14}" text-anchor="{end}">{one.gain:+.3f}</text>'
        )
    said = "; ".join(f"{one.domain} {one.gain:+.3f}" for one in measured)
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Nats per token saved: {escape(said)}">{"".join(marks)}</svg></figure>'
    )
