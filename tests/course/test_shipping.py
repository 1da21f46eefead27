"""A finished run becomes a folder that loads, and whose card says what was measured."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from moe_teach import cli
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.store import DamagedCheckpoint
from moe_teach.course.authoring import model_card
from moe_teach.data.baselines import bigram_loss
from moe_teach.data.text import read_text
from moe_teach.train.evaluate import evaluate
from moe_teach.train.recipe import read_recipe
from moe_teach.train.run import prepare
from moe_teach.train.shipped import load_folder, load_run

SUMS = "".join(f"{a} plus {b} is {a + b}.\n" for a in range(12) for b in range(12))
WORDS = "".join(
    f"The {a} sees the {b}.\n" for a in ("cat", "dog", "owl") for b in SUMS.split()[:99]
)
RECIPE = """
[model]
n_layers = 2
d_model = 16
attention = {{n_heads = 2, n_kv_heads = 1, d_head = 8}}
tie_embeddings = true
[model.moe]
d_ff = 12
router = {{n_experts = 4, top_k = 2}}
[train]
steps = 6
warmup = 2
batch_size = 4
seq_len = 12
bias_update_rate = 0.01
seed = 5
[data]
files = {{sums = "{folder}/sums.txt", words = "{folder}/words.txt"}}
tokenizer = "bpe"
vocab_size = 300
[run]
folder = "{folder}/run"
validation_windows = 5
"""


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    (folder / "sums.txt").write_text(SUMS)
    (folder / "words.txt").write_text(WORDS)
    (folder / "recipe.toml").write_text(text.format(folder=folder))
    return folder / "recipe.toml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tiny model by its recipe and return the recipe's path."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trained")
        patch.setenv("MOE_TEACH_HOME", str(folder / "home"))
        path = write_recipe(folder)
        assert cli.main(["train", str(path)]) == 0
        yield path


@pytest.fixture(scope="module")
def cargo(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ship it by the command and return the folder."""
    folder = tmp_path_factory.mktemp("cargo") / "tiny"
    assert cli.main(["author", "ship", str(trained), "--to", str(folder)]) == 0
    return folder


def test_the_folder_holds_everything_and_loads_as_it_was_trained(trained, cargo):
    assert sorted(file.name for file in cargo.iterdir()) == [
        *("card.json", "card.md", "model.safetensors", "recipe.toml", "tokenizer.json"),
    ]
    model, tokenizer, card = load_folder(cargo)
    run, its_tokenizer = load_run(read_recipe(trained))
    assert not model.training
    assert tokenizer.encode("The cat sees 12.") == its_tokenizer.encode("The cat sees 12.")
    for (name, stored), (_, whole) in zip(named_tensors(model), named_tensors(run), strict=True):
        assert torch.equal(stored, whole.bfloat16().float()), name
    assert card["name"] == "tiny"


def test_weights_are_stored_once_and_in_bfloat16(cargo):
    with safe_open(cargo / "model.safetensors", "pt") as stored:
        assert "embedding.weight" in stored.keys()  # noqa: SIM118  a safe_open is no dictionary
        assert "unembedding.weight" not in stored.keys()  # noqa: SIM118
        for name in stored.keys():  # noqa: SIM118
            assert stored.get_tensor(name).dtype == torch.bfloat16, name


def test_the_card_says_what_is_measured(trained, cargo):
    model, tokenizer, card = load_folder(cargo)
    prepared = prepare(read_recipe(trained))
    found = evaluate(model, prepared.validation, ("sums", "words"))
    for domain, row in card["losses"].items():
        assert row["model"] == pytest.approx(found.loss_per_domain[domain], abs=1e-3)
        assert row["uniform"] == pytest.approx(math.log(tokenizer.vocab_size), abs=1e-3)
        assert row["tokens"] == 5 * 12
    for number, layer in enumerate(card["routing"]):
        assert layer["load"] == pytest.approx(found.loads[number], abs=1e-3)
        assert layer["load_per_domain"].keys() == {"sums", "words"}
    training = card["training"]
    assert (training["seed"], training["steps"], training["tokens"]) == (5, 6, 6 * 4 * 12)
    assert training["cpu_seconds"] > 0
    assert training["wall_seconds"] > 0
    assert card["model"]["parameters"] == sum(t.numel() for _, t in named_tensors(model)) - 2 * 4


def test_the_ladder_is_asked_for_the_same_tokens_as_the_model(trained, cargo):
    """By hand: every window of the validation text, all tokens but its first."""
    _, tokenizer, card = load_folder(cargo)
    prepared = prepare(read_recipe(trained))
    held_back = torch.tensor(
        tokenizer.encode(read_text(trained.parent / "sums.txt", "sums").validation["sums"])
    )
    fits = (len(held_back) - 1) // 12
    starts = [window * fits // 5 * 12 for window in range(5)]
    windows = {str(start): held_back[start : start + 13] for start in starts}
    expected = bigram_loss(prepared.batches.token_ids["sums"], windows, tokenizer.vocab_size)
    assert card["losses"]["sums"]["bigram"] == pytest.approx(expected, abs=1e-3)


def test_the_samples_continue_validation_text(trained, cargo):
    card = load_folder(cargo).card
    held_back = read_text(trained.parent / "sums.txt", "sums").validation["sums"]
    assert card["samples"]["sums"]["prompt"] in held_back
    assert card["samples"]["sums"]["text"]
    page = (cargo / "card.md").read_text()
    assert page == model_card.card_text(card)
    assert "| sums |" in page
    assert "Files of the author's own." in page


def test_shipping_twice_gives_the_same_weights_and_numbers(trained, cargo, tmp_path):
    assert cli.main(["author", "ship", str(trained), "--to", str(tmp_path / "tiny")]) == 0
    one, other = (json.loads((f / "card.json").read_text()) for f in (cargo, tmp_path / "tiny"))
    assert one == other


def test_the_command_generates_with_the_run_of_a_recipe(trained, capsys):
    words = ["generate", "3 plus 4", "--recipe", str(trained), "--tokens", "9"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 plus 4")
    assert cli.main(words) == 0
    assert capsys.readouterr().out == said
    assert cli.main([*words, "--seed", "1", "--temperature", "3", "--top-k", "200"]) == 0
    assert capsys.readouterr().out != said


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--tokens", "4000"], "the model was built for at most 2048"),
        (["--temperature", "-1"], "temperature must not be negative"),
        (["--recipe", "nowhere.toml"], "There is no recipe at nowhere.toml"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_a_sentence(trained, extra, sentence, capsys):
    assert cli.main(["generate", "3 plus 4", "--recipe", str(trained), *extra]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


def test_a_run_that_is_not_there_or_not_finished_is_not_shipped(tmp_path, capsys):
    path = write_recipe(tmp_path)
    assert cli.main(["author", "ship", str(path)]) == 2
    assert "There is no finished run in" in capsys.readouterr().err

    assert cli.main(["train", str(path)]) == 0
    longer = path.read_text().replace("steps = 6", "steps = 9")
    path.write_text(longer)
    capsys.readouterr()
    assert cli.main(["author", "ship", str(path)]) == 2
    assert "train it to the end first" in capsys.readouterr().err

    path.write_text(longer.replace("steps = 9", "steps = 6").replace("top_k = 2", "top_k = 1"))
    assert cli.main(["author", "ship", str(path)]) == 2
    assert "made by another recipe" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "recipe.toml"])
def test_a_changed_file_is_noticed(cargo, tmp_path, name):
    folder = shutil.copytree(cargo, tmp_path / "copy")
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=rf"{name} is missing or not what was shipped\."):
        load_folder(folder)
    (folder / name).unlink()
    with pytest.raises(DamagedCheckpoint, match="Install the package again"):
        load_folder(folder)


def test_line_ends_of_another_system_do_not_matter(cargo, tmp_path):
    folder = shutil.copytree(cargo, tmp_path / "copy")
    for name in ("tokenizer.json", "recipe.toml", "card.json"):
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"\n", b"\r\n"))
    load_folder(folder)


def test_a_folder_without_a_whole_card_is_refused(cargo, tmp_path):
    with pytest.raises(ValueError, match=r"There is no card\.json in"):
        load_folder(tmp_path)
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(DamagedCheckpoint, match=r"card\.json is damaged"):
        load_folder(tmp_path)
