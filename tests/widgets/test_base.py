"""The three faces of a widget: live view, static twin, words."""

import json
import re

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
