"""What lessons store must be the same on every run."""

from nbformat import v4

from moe_teach.course.authoring.execute import clean


def stream(text, name="stdout"):
    return v4.new_output("stream", name=name, text=text)


def cleaned(*outputs):
    cell = v4.new_code_cell("x", outputs=list(outputs), metadata={"execution": {"a": "now"}})
    problems = clean(notebook := v4.new_notebook(cells=[cell]))
    return notebook.cells[0], problems


def test_pieces_of_one_stream_are_joined():
    cell, problems = cleaned(stream("a\n"), stream("b\n"))
    assert [output.text for output in cell.outputs] == ["a\nb\n"]
    assert problems == []


def test_a_progress_line_is_kept_as_it_ended():
    cell, _ = cleaned(stream("10 %\r"), stream("100 %\ndone\n"))
    assert cell.outputs[0].text == "100 %\ndone\n"


def test_times_of_execution_are_removed():
    assert cleaned()[0].metadata == {}


def test_live_views_are_removed_and_the_still_picture_stays():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/html": "<p>"}
    cell, _ = cleaned(v4.new_output("display_data", data=view))
    assert cell.outputs[0].data == {"text/html": "<p>"}


def test_warnings_and_addresses_are_reported():
    _, problems = cleaned(stream("careful", "stderr"), stream("<f at 0x7f00aa00bb00>"))
    assert len(problems) == 2
