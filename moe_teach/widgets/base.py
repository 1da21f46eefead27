"""The base of every interactive figure: one anywidget that also lives without a kernel.

A displayed widget offers three faces, and each reader takes the best it can show:

- the live view, where a kernel runs (JupyterLab, Colab, VS Code);
- the static twin, where only a browser runs (an exported page, a notebook read on the web);
- words and a still picture, where not even scripts run (an untrusted notebook, a terminal).
"""

import base64
import hashlib
import json
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import anywidget

_HERE = Path(__file__).parent
_THEME = (_HERE / "theme.css").read_text(encoding="utf-8")
_SHIM = (_HERE / "static_twin.js").read_text(encoding="utf-8")
_INHERITED = frozenset(anywidget.AnyWidget.class_trait_names(sync=True))


class CourseWidget(anywidget.AnyWidget):
    """A widget with a static twin.

    A subclass sets `_esm` and `_css` to its files, `alt` to the picture in words, `what_to_try` to
    three things worth doing, and tags its traits with `sync=True`. Trait values are what JSON can
    carry, or bytes (the browser sees a `DataView`, live and static). `_css` comes after theme.css,
    which gives the colours of the light and the dark theme to everything of class `moe-widget`.
    """

    alt: ClassVar[str] = ""
    what_to_try: ClassVar[tuple[str, str, str]]

    # ipywidgets 7 displays itself through this method and would bypass the bundle below.
    _ipython_display_ = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        style = cls.__dict__.get("_css")
        if isinstance(style, Path):  # traitlets derives classes too, with a trait of that name
            cls._css = f"{_THEME}\n{style.read_text(encoding='utf-8')}"
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
