"""The base of every interactive figure: one anywidget that also lives without a kernel.

A displayed widget offers three faces, and each reader takes the best it can show:

- the live view, where a kernel runs (JupyterLab, Colab, VS Code);
- the static twin, where only a browser runs (an exported page, a notebook read on the web);
- words and a still picture, where not even scripts run (an untrusted notebook, a terminal).
"""

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import anywidget

from moe_teach.config import refuse

_HERE = Path(__file__).parent
_STYLE = "\n".join((_HERE / name).read_text("utf-8") for name in ("theme.css", "controls.css"))
_DRAWING = (_HERE / "drawing.js").read_text(encoding="utf-8")
_FROM_DRAWING = re.compile(
    r'^import \{(\s*\w+(?:,\s*\w+)*,?\s*)\} from "\./drawing\.js";$', re.MULTILINE
)
_FROM_ELSEWHERE = re.compile(r"^\s*(?:import\b|export\s*[{*].*\bfrom\b)|\bimport\(", re.MULTILINE)
_SHIM = (_HERE / "static_twin.js").read_text(encoding="utf-8")
_INHERITED = frozenset(anywidget.AnyWidget.class_trait_names(sync=True))


class CourseWidget(anywidget.AnyWidget):
    """A widget with a static twin.

    A subclass sets `_esm` and `_css` to its files, `alt` to the picture in words, `what_to_try` to
    three things worth doing, and tags its traits with `sync=True`. Trait values are what JSON can
    carry, or bytes (the browser sees a `DataView`, live and static). `_css` comes after theme.css,
    which gives the colours of the light and the dark theme to everything of class `moe-widget`,
    and controls.css; `_esm` may import from drawing.js beside it, and from nowhere else.
    """

    alt: ClassVar[str] = ""
    what_to_try: ClassVar[tuple[str, str, str]]

    # ipywidgets 7 displays itself through this method and would bypass the bundle below.
    _ipython_display_ = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        script, style = cls.__dict__.get("_esm"), cls.__dict__.get("_css")
        # traitlets derives classes too, with traits of these names
        if isinstance(script, Path | str):
            is_file = isinstance(script, Path)
            cls._esm = _joined(script.read_text("utf-8") if is_file else script, cls.__name__)
        if isinstance(style, Path):
            cls._css = _styled(style.read_text("utf-8"), cls.__name__)
        super().__init_subclass__(**kwargs)

    @classmethod
    def data_traits(cls) -> list[str]:
        """Name the traits that both halves share, without those of the widget machinery."""
        names = set(cls.class_trait_names(sync=True)) - _INHERITED
        return sorted(name for name in names if not name.startswith("_"))

    def words(self) -> str:
        """Say what is to be seen; a subclass may add the numbers of the present state."""
        return self.alt

    def picture(self) -> str:
        """Draw the present state as SVG source, for readers without scripts; "" for none."""
        return ""

    def html(self) -> str:
        """Give this widget as one self-contained piece of HTML, alive without kernel or network.

        It holds the same script and style, the present traits and a small stand-in for the
        Jupyter model. Nothing in it is random: the same state gives the same text.
        """
        payload = _inline(
            {
                "name": type(self).__name__,
                "esm": str(self._esm),
                "css": str(getattr(self, "_css", "")),
                **_split_bytes(self.get_state(key=self.data_traits())),
            }
        )
        digest = hashlib.sha256((payload + _SHIM).encode()).hexdigest()[:12]
        return (
            # The class names keep MathJax from reading prices as formulas.
            f'<div class="moe-twin tex2jax_ignore mathjax_ignore" data-moe-twin="{digest}">\n'
            f"{self._still()}\n"
            f'<script>\n(() => {{\n{_SHIM}\nstartTwin("{digest}", {payload});\n}})();\n</script>\n'
            "</div>"
        )

    def _still(self) -> str:
        """Say and draw the widget in plain HTML; it must survive a notebook's sanitiser."""
        drawing = self.picture()
        image = ""
        if drawing:
            source = base64.b64encode(drawing.encode()).decode()
            image = f'<img alt="" src="data:image/svg+xml;base64,{source}">\n'
        # No blank line between the parts: some readers treat stored HTML as Markdown.
        return (
            f"<div data-moe-still>\n{image}<p>{escape(self.words())}</p>\n"
            "<p><em>This figure is interactive where scripts may run: run the cell, or trust the "
            "notebook.</em></p>\n</div>"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Offer the live view, the static twin and the words, in one bundle."""
        live, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**live, "text/html": self.html(), "text/plain": self.words()}, metadata


def _joined(script: str, name: str) -> str:
    """Put drawing.js where a script imports from it, for anywidget ships one file."""
    body = re.sub(r"^export (?=const|function)", "", _DRAWING, flags=re.MULTILINE)
    # Inside a function no name of drawing.js can clash with one of the script.
    joined = _FROM_DRAWING.sub(
        lambda found: f"const {{{found[1]}}} = (() => {{\n{body}\nreturn {{{found[1]}}};\n}})();",
        script,
    )
    refuse(
        _FROM_ELSEWHERE.search(joined) is not None,
        f"The script of {name} imports what a notebook would not find. It may only import names "
        "from drawing.js, by 'import { make, draw } from \"./drawing.js\";' on lines of its own; "
        "write everything else into the script itself.",
    )
    return joined


def _styled(style: str, name: str) -> str:
    """Put the shared rules before a widget's own, all under the class that its style names first.

    Under `.moe-widget` they would reach every widget of a page, and the copy that came with the
    last one would overrule what the styles before it had said for themselves.
    """
    own = re.search(r"\.moe-[\w-]+", style)
    refuse(own is None, f"The style of {name} names no class that begins with '.moe-'.")
    return f"{_STYLE.replace('.moe-widget', own and own[0])}\n{style}"


def _split_bytes(state: dict[str, Any]) -> dict[str, Any]:
    """Separate what JSON carries from what travels as bytes."""
    binary = {k: v for k, v in state.items() if isinstance(v, bytes | bytearray | memoryview)}
    return {
        "state": {name: value for name, value in state.items() if name not in binary},
        "binary": {name: base64.b64encode(value).decode() for name, value in binary.items()},
    }


def _inline(payload: dict[str, Any]) -> str:
    """Write JSON that may stand inside a script element, whatever text it holds."""
    try:
        text = json.dumps(payload, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise ValueError(
            f"The widget's state cannot be written into a page ({problem}). Give the traits finite "
            "numbers, text, lists, dictionaries, or bytes for large arrays."
        ) from problem
    return text.replace("<", "\\u003c")  # so neither </script> nor <!-- can end the element
