"""`moe-teach expert`: a skill goes through the command line, into a model and out of it again."""

from pathlib import Path

import pytest
import torch

from moe_teach import cli
from moe_teach.checkpoint.native import load_model, save_model
from moe_teach.data.tokenizer import ByteTokenizer
from tests.compose.test_modules import contents, differing, retrained, tiny

PLACES = ((1, 2), (2, 0))


@pytest.fixture
def place(tmp_path: Path, home: Path, monkeypatch) -> Path:
    """Give a folder with a base, a model trained from it, and a text."""
    monkeypatch.chdir(tmp_path)
    text = ByteTokenizer().save(tmp_path).read_text("utf-8")
    base = tiny(vocab_size=256)
    save_model("base", base, tokenizer_json=text)
    save_model("trained", retrained(base, *PLACES), tokenizer_json=text)
    (tmp_path / "sums.txt").write_text("".join(f"{a} + {a} = {2 * a}\n" for a in range(120)))
    return tmp_path


def run(capsys, *words: str) -> tuple[int, str]:
    status = cli.main(words)
    said = capsys.readouterr()
    return status, said.out + said.err


def test_a_skill_is_packed_measured_installed_and_taken_out(place, capsys):
    label = ("--domain", "sums", "--licence", "MIT", "--text", "sums=sums.txt")
    status, said = run(
        capsys, "expert", "pack", "trained", "m.safetensors", "--base", "base", *label
    )
    assert status == 0, said
    assert "m: layer 1, expert 2; layer 2, expert 0; sums; licence MIT." in said
    row = next(line.split() for line in said.splitlines() if line.startswith("sums "))
    before, after, gain = map(float, row[1:4])
    assert gain == pytest.approx(before - after, abs=2e-3)
    assert gain != 0

    status, said = run(capsys, "expert", "inspect", "m.safetensors")
    assert status == 0
    assert "whole: its SHA-256 is" in said
    status, said = run(capsys, "expert", "install", "base", "m.safetensors")
    assert status == 0, said
    now, trained = (load_model(name).model for name in ("base", "trained"))
    assert not differing(contents(now), contents(trained))
    assert "m     sums" in run(capsys, "expert", "list", "base")[1]
    status, said = run(capsys, "expert", "remove", "base", "m")
    assert status == 0
    assert "bit for bit what it was before" in said
    assert not differing(contents(load_model("base").model), contents(tiny(vocab_size=256)))
    assert "No module is installed." in run(capsys, "expert", "list", "base")[1]


def test_the_measured_loss_is_that_of_the_trained_model(place, capsys):
    """The base with the module in it is the trained model, so their losses are one."""
    from moe_teach.cli.expert_effect import effect
    from moe_teach.train.sources import open_source

    base, trained = open_source("base"), open_source("trained")
    (there,) = effect(["sums=sums.txt"], base, trained.model, PLACES)
    (same,) = effect(["sums=sums.txt"], base, base.model, PLACES)
    (back,) = effect(["sums=sums.txt"], trained, base.model, PLACES)
    assert (there.before, there.after) == (back.after, back.before)
    assert same.gain == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pack", "base", "m.safetensors"), "Say which experts (--at LAYER:EXPERT)"),
        (("pack", "base", "m.safetensors", "--base", "base"), "there is nothing to pack"),
        (("pack", "base", "m.safetensors", "--at", "0:1"), "There are no experts in layer 0"),
        (("pack", "base", "m.safetensors", "--at", "two"), "LAYER:EXPERT"),
        (("pack", "base", "m.safetensors", "--at", "1:0", "--text", "a=sums.txt"), "--base"),
        (
            ("pack", "trained", "m.safetensors", "--base", "base", "--text", "sums.txt"),
            "NAME=FILE",
        ),
        (
            ("pack", "trained", "m.safetensors", "--base", "base", "--text", "a=none.txt"),
            "There is no text",
        ),
        (("inspect", "none.safetensors"), "There is no file none.safetensors."),
        (("install", "nowhere", "none.safetensors"), "There is no file"),
        (("remove", "base", "maths"), "nothing is installed there"),
        (("list", "nowhere"), "There is no latest checkpoint in nowhere."),
        (("index", "nowhere"), "There is no folder nowhere."),
        (("index", "."), "holds no module that can be read"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(place, capsys, words, said):
    status, answer = run(capsys, "expert", *words)
    assert status == 2
    assert said in answer
    assert answer.startswith("moe-teach: ")
    assert not Path("m.safetensors").exists()


def test_a_folder_of_modules_becomes_a_page(place, capsys):
    shelf = place / "shelf"
    label = ("--base", "base", "--note", "adds <b>sums</b>", "--text", "sums=sums.txt")
    run(capsys, "expert", "pack", "trained", "shelf/sums.safetensors", *label)
    run(capsys, "expert", "pack", "base", "shelf/plain.safetensors", "--at", "1:0")
    (shelf / "broken.safetensors").write_bytes((shelf / "plain.safetensors").read_bytes()[:-1])
    (shelf / "other.safetensors").write_bytes(b"no tensors")
    status, said = run(capsys, "expert", "index", "shelf")
    assert status == 0
    assert said.count("is left out") == 2
    page = (shelf / "index.html").read_text("utf-8")
    assert "<script" not in page
    assert "adds &lt;b&gt;sums&lt;/b&gt;" in page
    assert "Nobody has measured what it changes." in page
    assert "2 modules for one trunk" in page
    run(capsys, "expert", "index", "shelf")
    assert (shelf / "index.html").read_text("utf-8") == page, "same files, same page"


def test_two_trunks_on_one_shelf_are_told_apart(place, capsys):
    save_model("stranger", tiny(seed=3, vocab_size=256))
    for source in ("base", "stranger"):
        run(capsys, "expert", "pack", source, f"shelf/{source}.safetensors", "--at", "1:0")
    run(capsys, "expert", "index", "shelf")
    assert "2 trunks, which cannot be mixed" in (place / "shelf/index.html").read_text("utf-8")


def test_a_model_in_bfloat16_takes_its_own_modules(place, capsys):
    narrow = tiny(vocab_size=256).to(torch.bfloat16)
    save_model("narrow", narrow)
    run(capsys, "expert", "pack", "narrow", "narrow.safetensors", "--at", "1:0")
    run(capsys, "expert", "pack", "base", "wide.safetensors", "--at", "1:0")
    assert run(capsys, "expert", "install", "narrow", "narrow.safetensors")[0] == 0
    status, said = run(capsys, "expert", "install", "narrow", "wide.safetensors")
    assert status == 2
    assert "another trunk" in said
