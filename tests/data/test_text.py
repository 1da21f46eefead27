"""The reader's own text is divided for good; the network is asked only when the reader asks."""

import socket
import sys
from types import ModuleType

import pytest

from moe_teach.data.text import read_dataset, read_text

LINES = "".join(f"line {number} of a text that is long enough\n" for number in range(200))


def hub(rows: list[dict]) -> ModuleType:
    """Return a stand-in for the package `datasets`."""
    module = ModuleType("datasets")
    module.asked = []

    def load_dataset(name, config, *, split, streaming):
        module.asked.append((name, config, split, streaming))
        return rows

    module.load_dataset = load_dataset
    return module


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args, **kwargs):
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def test_a_file_is_divided_at_the_beginning_of_a_line(tmp_path, no_network: None) -> None:
    path = tmp_path / "poem.txt"
    path.write_bytes(LINES.replace("\n", "\r\n").encode())
    corpus = read_text(path)

    assert corpus.domains == ("poem",)
    assert corpus.train["poem"] + corpus.validation["poem"] == LINES
    assert corpus.validation["poem"].startswith("line ")
    assert 0.1 <= len(corpus.validation["poem"]) / len(LINES) < 0.11
    assert str(path) in corpus.sources["poem"]


def test_a_folder_is_divided_by_file(tmp_path) -> None:
    (tmp_path / ".hidden").write_text("hidden")
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text(f"text number {number}.")
    corpus = read_text(tmp_path, domain="mine")

    sides = [corpus.train["mine"], corpus.validation["mine"]]
    for number in range(60):
        assert sum(f"number {number}." in side for side in sides) == 1
    assert "hidden" not in "".join(sides)
    assert 0 < sides[1].count("number") < 20


def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no text at"):
        read_text(tmp_path / "nothing.txt")
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(ValueError, match="has 5 characters: at least 1000"):
        read_text(tmp_path / "short.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9" * 1000)
    with pytest.raises(ValueError, match=r"not text in UTF-8 \(byte 3 "):
        read_text(tmp_path / "latin.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="too few documents in the folder"):
        read_text(tmp_path / "folder")


def test_a_dataset_is_streamed_until_there_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": f"document {number}. " * 10, "id": number} for number in range(500)]
    package = hub(rows)
    monkeypatch.setitem(sys.modules, "datasets", package)
    corpus = read_dataset("someone/stories", limit_bytes=20_000)

    assert package.asked == [("someone/stories", None, "train", True)]
    assert corpus.domains == ("stories",)
    train, validation = corpus.train["stories"], corpus.validation["stories"]
    assert 20_000 <= len((train + validation).replace("\n", "").encode()) < 20_500
    assert 0.03 < len(validation) / len(train) < 0.25


def test_a_document_that_occurs_twice_is_on_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": f"document {number % 30}."} for number in range(300)]
    monkeypatch.setitem(sys.modules, "datasets", hub(rows))
    corpus = read_dataset("stories")

    train, validation = (
        set(side["stories"].split("\n\n")) - {""} for side in (corpus.train, corpus.validation)
    )
    assert train.isdisjoint(validation)
    assert len(train | validation) == 30


def test_without_the_package_the_reader_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(ImportError, match="pip install datasets"):
        read_dataset("someone/stories")


def test_without_network_the_reader_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    package = hub([])
    package.load_dataset = lambda *args, **kwargs: (_ for _ in ()).throw(OSError("unreachable"))
    monkeypatch.setitem(sys.modules, "datasets", package)

    with pytest.raises(ConnectionError, match=r"reached: unreachable\. Is this machine"):
        read_dataset("someone/stories")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "is empty"),
        ([{"story": "x", "id": 1}], r"no column 'text': choose from \['id', 'story'\]"),
    ],
)
def test_an_unfit_dataset_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, rows: list, says: str
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", hub(rows))

    with pytest.raises(ValueError, match=says):
        read_dataset("someone/stories")
