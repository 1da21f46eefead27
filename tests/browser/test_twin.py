"""The three faces of a widget, each in the reader that takes it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import traitlets

from moe_teach.widgets.base import CourseWidget

pytestmark = pytest.mark.browser

SAMPLE = '''
import traitlets
from moe_teach.widgets.base import CourseWidget

class Sample(CourseWidget):
    """Counts clicks."""
    _esm = """
    export default { render({ model, el }) {
      const button = document.createElement("button");
      const draw = () => { button.textContent = `clicked ${model.get("clicks")} of ` +
                           `${model.get("blob").byteLength} ${model.get("label")}`; };
      button.className = "moe-sample";
      button.onclick = () => {
        model.set("clicks", model.get("clicks") + 1);
        model.save_changes();
      };
      model.on("change:clicks", draw);
      draw();
      el.append(button);
    } };
    """
    alt = "A button that counts its clicks."
    clicks = traitlets.Int(0).tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    blob = traitlets.Bytes(b"abc").tag(sync=True)
'''


@pytest.fixture
def sample() -> type[CourseWidget]:
    scope: dict[str, Any] = {"traitlets": traitlets, "__name__": __name__}
    exec(SAMPLE, scope)
    return scope["Sample"]


def test_a_kernel_shows_the_live_view_once_and_python_follows(
    notebook: Callable, eventually: Callable
) -> None:
    book = notebook(SAMPLE + "\nw = Sample()", "w")
    button = book.page.locator(".moe-sample")

    button.click()

    assert button.count() == 1
    assert book.page.locator("[data-moe-twin]").count() == 0
    eventually(lambda: book.execute("", "w.clicks"), 1)
    book.execute("w.clicks = 7")
    book.page.get_by_text("clicked 7 of 3").wait_for()


def test_two_twins_on_one_page_are_alive_and_apart(
    static_page: Callable, sample: type[CourseWidget]
) -> None:
    twin = sample(label="</script><b>bold</b>").html()
    page = static_page(twin, twin)
    first, second = page.locator(".moe-sample").all()

    first.click()

    assert first.inner_text() == "clicked 1 of 3 </script><b>bold</b>"
    assert second.inner_text().startswith("clicked 0")
    assert page.locator("[data-moe-still]:visible").count() == 0


def test_without_scripts_the_words_stand_in(
    static_page: Callable, sample: type[CourseWidget]
) -> None:
    page = static_page(sample().html(), alive=False, java_script_enabled=False)

    assert page.get_by_text(sample.alt).is_visible()


def test_a_trusted_output_without_a_live_view_is_alive(
    notebook: Callable, sample: type[CourseWidget]
) -> None:
    html = json.dumps(sample().html())
    page = notebook(f"from IPython.display import HTML, display\ndisplay(HTML({html}))").page

    page.locator(".moe-sample").click()

    page.get_by_text("clicked 1 of 3").wait_for()
    assert page.locator("[data-moe-still]").is_hidden()


def test_an_untrusted_notebook_shows_the_picture_and_the_words(
    notebook: Callable, sample: type[CourseWidget]
) -> None:
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"></svg>'
    sample.picture = lambda self: drawing
    page = notebook("w", stored={"text/html": sample().html(), "text/plain": sample.alt}).page

    page.get_by_text(sample.alt).wait_for()
    assert page.locator(".jp-OutputArea img").bounding_box()["width"] == 40
    assert page.locator(".moe-sample").count() == 0
