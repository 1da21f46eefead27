"""`moe-teach audit`: a model and a text become a page, the same one every time."""

from pathlib import Path

import pytest

from moe_teach import cli
from moe_teach.checkpoint.native import save_model
from moe_teach.data.tokenizer import ByteTokenizer
from tests.compose.test_modules import tiny

TEXT = "".join(f"{a} + {a} = {2 * a}\n" for a in range(40))


@pytest.fixture
def place(tmp_path: Path, home: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    text = ByteTokenizer().save(tmp_path).read_text("utf-8")
    save_model("model", tiny(vocab_size=256), tokenizer_json=text)
    save_model("mute", tiny(vocab_size=256))
    (tmp_path / "sums.txt").write_text(TEXT)
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\x00")
    return tmp_path


def run(capsys, *words: str) -> tuple[int, str]:
    status = cli.main(words)
    said = capsys.readouterr()
    return status, said.out + said.err


def test_a_page_is_written_and_the_same_again(place, capsys):
    status, said = run(capsys, "audit", "model", "--text", "sums.txt", "--to", "one.html")
    assert status == 0, said
    assert "one.html:" in said
    again = ("audit", "model", "--text", "sums.txt", "--to", "two.html")
    assert run(capsys, *again)[0] == 0
    one, two = (Path(name).read_bytes() for name in ("one.html", "two.html"))
    assert one == two
    assert b"<title>Audit of model</title>" in one
    assert run(capsys, *again, "--shown", "5")[0] == 0  # over its own page
    assert b"The first 5 tokens" in Path("two.html").read_bytes()


def test_what_is_missing_is_said_and_nothing_is_written_over(place, capsys):
    Path("mine.html").write_text("<p>my own page</p>")
    for words, told in (
        (("model", "--text", "sums.txt", "--to", "mine.html"), "is no audit page"),
        (("model", "--text", "nowhere.txt"), "nowhere.txt"),
        (("model", "--text", "latin.txt"), "not text in UTF-8"),
        (("mute", "--text", "sums.txt"), "mute has no tokenizer"),
        (("nowhere", "--text", "sums.txt"), "There is no model at nowhere"),
        (("model", "--text", "sums.txt", "--shown", "0"), "At least one token"),
    ):
        status, said = run(capsys, "audit", *words)
        assert (status, told in said) == (2, True), said
        assert "Traceback" not in said
    assert Path("mine.html").read_text() == "<p>my own page</p>"
    assert not Path("audit.html").exists()
