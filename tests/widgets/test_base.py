"""The three faces of a widget: live view, static twin, words."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import traitlets

from moe_teach.widgets.base import CourseWidget

SCRIPT = "export default { render({ model, el }) { el.textContent = model.get('label'); } };"


class Sample(CourseWidget):
    """A widget with one trait of each kind that travels."""

    _esm = SCRIPT
    _css = ".sample { color: red; }"
    alt = "A sample & its <words>."

    label = traitlets.Unicode("hello").tag(sync=True)
    marks = traitlets.List(traitlets.Float()).tag(sync=True)
    blob = traitlets.Bytes(b"").tag(sync=True)
    private = traitlets.Int(3)


def payload_of(page: str) -> dict:
    start = page.index('startTwin("') + len('startTwin("') + 12 + 3
    return json.JSONDecoder().raw_decode(page[start:])[0]


def test_display_offers_the_live_view_the_twin_and_the_words() -> None:
    data, _ = Sample()._repr_mimebundle_()

    assert set(data) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert data["text/plain"] == Sample.alt


def test_old_ipywidgets_cannot_bypass_the_bundle() -> None:
    assert Sample()._ipython_display_ is None


def test_a_closed_widget_still_gives_its_twin() -> None:
    widget = Sample(label="left behind")
    widget.close()

    assert payload_of(widget.html())["state"]["label"] == "left behind"


def test_the_twin_carries_the_present_traits_and_nothing_of_the_machinery() -> None:
    payload = payload_of(Sample(label="now", marks=[1.5], blob=b"\x00\xff").html())

    assert payload["state"] == {"label": "now", "marks": [1.5]}
    assert payload["binary"] == {"blob": "AP8="}
    assert payload["esm"] == SCRIPT


def test_the_twin_is_the_same_text_for_the_same_state() -> None:
    assert Sample(label="a").html() == Sample(label="a").html()
    assert Sample(label="a").html() != Sample(label="b").html()


def test_data_cannot_leave_its_script_element() -> None:
    page = Sample(label="</script><script>alert(1)</script><!--").html()

    assert page.count("<script") == page.count("</script") == 1
    assert "<!--" not in page
    assert payload_of(page)["state"]["label"] == "</script><script>alert(1)</script><!--"


def test_words_are_escaped_in_the_still_picture() -> None:
    assert "A sample &amp; its &lt;words&gt;." in Sample().html()


def test_the_twin_names_no_address_on_the_network() -> None:
    assert not re.search(r"https?://", Sample().html())


def test_a_state_that_json_cannot_carry_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        Sample(marks=[float("nan")]).html()


def widget_of(script: str | Path, style: str | Path = "") -> type[CourseWidget]:
    return type("Drawn", (CourseWidget,), {"_esm": script, "_css": style})


IMPORTS = {
    "one line": 'import { draw, make } from "./drawing.js";',
    "several lines": 'import {\n  draw,\n  make,\n} from "./drawing.js";',
}


@pytest.mark.parametrize("statement", IMPORTS.values(), ids=IMPORTS)
@pytest.mark.parametrize("kind", ["text", "file"])
def test_a_script_that_imports_the_drawing_helpers_is_shipped_with_them(
    statement: str, kind: str, tmp_path: Path
) -> None:
    script: str | Path = f"// A figure.\n\n{statement}\n{SCRIPT}\n"
    if kind == "file":
        (tmp_path / "drawn.js").write_text(script)
        script = tmp_path / "drawn.js"

    joined = widget_of(script)._esm

    assert joined.startswith("// A figure.")
    assert joined.endswith(f"{SCRIPT}\n")
    assert "document.createElement(tag)" in joined
    assert re.findall(r"^\s*(?:import|export)\b.*", joined, flags=re.MULTILINE) == [SCRIPT]


def test_a_script_may_give_its_own_parts_the_names_of_other_helpers(
    in_node: Callable, tmp_path: Path
) -> None:
    script = (
        'import { spread } from "./drawing.js";\n'
        'export const fill = () => "mine";\n'
        "export const make = () => spread([1, 1], 5);\n"
    )
    (tmp_path / "drawn.js").write_text(widget_of(script)._esm)

    assert in_node(str(tmp_path / "drawn"), "[m.fill(), m.make()]", [None]) == [["mine", [1, 6]]]


def test_a_script_without_imports_is_shipped_as_it_is() -> None:
    assert widget_of(SCRIPT)._esm == SCRIPT


@pytest.mark.parametrize(
    "statement",
    [
        'import * as d3 from "https://example.org/d3.js";',
        'import { make } from "./other.js";',
        'import { make as build } from "./drawing.js";',
        'import "./drawing.js";',
        'export { make } from "./drawing.js";',
        'const later = () => import("./drawing.js");',
    ],
)
def test_any_other_import_is_refused_in_a_sentence(statement: str) -> None:
    with pytest.raises(
        ValueError, match=r"The script of Drawn imports .* into the script itself\."
    ):
        widget_of(f"{statement}\n{SCRIPT}")


def test_a_style_file_comes_after_the_colours_and_the_controls(tmp_path: Path) -> None:
    (tmp_path / "drawn.css").write_text(".moe-drawn { color: red; }")

    style = widget_of(SCRIPT, tmp_path / "drawn.css")._css

    parts = ["--moe-ground:", ".moe-drawn .controls {", ".moe-drawn { color: red; }"]
    assert [style.count(part) for part in parts] == [1, 1, 1]
    assert parts == sorted(parts, key=style.index)


def test_a_style_without_a_class_of_its_own_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "drawn.css").write_text("p { color: red; }")

    with pytest.raises(ValueError, match=r"The style of Drawn names no class .*\."):
        widget_of(SCRIPT, tmp_path / "drawn.css")
