"""A recipe decides a run; what it gets wrong is said in a sentence before anything starts."""

import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from moe_teach import cli
from moe_teach.train import recipe as recipe_module
from moe_teach.train.loop import train
from moe_teach.train.recipe import read_recipe, recipe_from
from moe_teach.train.record import History
from moe_teach.train.run import run_recipe
from tests.train.breaking import BreakingBatches

TEXT = "".join(f"{a} plus {b} is {a + b}.\n" for a in range(12) for b in range(12))
RECIPE = """
[model]
n_layers = 1
d_model = 16
attention = {{n_heads = 2, n_kv_heads = 1, d_head = 8}}
[model.moe]
d_ff = 12
router = {{n_experts = 4, top_k = 2}}
[train]
steps = 6
warmup = 2
batch_size = 4
seq_len = 12
lr = 0.01
bias_update_rate = 0.01
z_loss_coef = 0.001
checkpoint_every = 4
[data]
files = {{sums = "{text}"}}
[run]
folder = "{folder}"
evaluate_every = 3
validation_windows = 4
"""


@pytest.fixture
def recipe(tmp_path: Path):
    """Write a recipe into a folder of its own and return its path."""

    def write(name: str = "run") -> Path:
        text, path = tmp_path / "sums.txt", tmp_path / f"{name}.toml"
        text.write_text(TEXT)
        path.write_text(RECIPE.format(text=text, folder=tmp_path / name))
        return path

    return write


def tables(**changes):
    plain = {
        "model": {
            "n_layers": 1,
            "d_model": 16,
            "attention": {"n_heads": 2, "n_kv_heads": 1, "d_head": 8},
            "d_ff_dense": 16,
        },
        "train": {"steps": 30},
        "run": {"folder": "somewhere"},
    }
    for path, value in changes.items():
        table, _, key = path.rpartition("__")
        plain.setdefault(table or key, {})
        if table:
            plain[table][key] = value
        else:
            plain[key] = value
    return plain


def test_a_recipe_becomes_configurations():
    recipe = recipe_from(tables(train__lr=1, data__tokenizer="bpe", data__vocab_size=512))
    assert recipe.train.lr == 1.0
    assert recipe.model.vocab_size == 512
    assert recipe.data.domains == ("code", "english", "languages", "arithmetic")


def test_the_example_in_the_documentation_is_a_recipe():
    example = recipe_module.__doc__.split("\n\n", 1)[1]
    recipe = recipe_from(tomllib.loads(textwrap.dedent(example)))
    assert recipe.train.steps == 500
    assert recipe.model.moe.router.n_experts == 16


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train__stepz": 3}, r"\[train\] has a key 'stepz' .* did you mean 'steps'\?"),
        ({"training__steps": 3}, r"\[the recipe\] has a key 'training' .* 'train'\?"),
        ({"model__attention": {"n_heads": 2}}, r"\[model.attention\] lacks n_kv_heads or d_head"),
        ({"model__attention": 3}, r"model.attention must be a table"),
        ({"train__steps": "many"}, r"train.steps must be a whole number, not 'many'"),
        ({"train__steps": True}, r"train.steps must be a whole number, not True"),
        ({"train__dtype": "float8"}, r"train.dtype must be auto, float32 or bfloat16"),
        ({"train__warmup": 31}, r"\[train\]: warmup is 31"),
        ({"model__vocab_size": 300}, r"vocab_size = 300, but the tokenizer of \[data\] has 256"),
        ({"data__domains": "code"}, r"data.domains must be a list"),
        ({"data__files": {"a": 3}}, r"data.files.a must be a text in quotes"),
    ],
)
def test_mistakes_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        recipe_from(tables(**changes))
    assert str(refusal.value)[-1] in ".?"


def test_a_recipe_without_a_table_or_a_file_or_sense_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"lacks its table \[run\]"):
        recipe_from({name: table for name, table in tables().items() if name != "run"})
    with pytest.raises(ValueError, match="There is no recipe at"):
        read_recipe(tmp_path / "nowhere.toml")
    (tmp_path / "broken.toml").write_text("[train\n")
    with pytest.raises(ValueError, match="not valid TOML"):
        read_recipe(tmp_path / "broken.toml")


def test_the_command_trains_and_tells_what_came_out(recipe, tmp_path, capsys):
    assert cli.main(["train", str(recipe())]) == 0
    said = capsys.readouterr().out
    assert "sums" in said and str(tmp_path / "run") in said

    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["recipe"]["train"]["steps"] == 6
    assert report["loss_per_domain"].keys() == {"sums"}
    assert report["seconds"] > 0
    assert {"processor", "torch", "date"} <= report["machine"].keys()
    history = History.load(tmp_path / "run" / "history.json")
    assert [step for step, _ in history.validation] == [2, 5]
    assert history.records[-1].validation_loss == pytest.approx(report["validation_loss"])
    assert (tmp_path / "run" / "tokenizer.json").is_file()


def test_the_command_says_what_is_wrong_and_how_it_went(recipe, tmp_path, capsys):
    path = recipe()
    path.write_text(path.read_text().replace("steps = 6", "step = 6"))
    assert cli.main(["train", str(path)]) == 2
    assert "did you mean 'steps'?" in capsys.readouterr().err

    path = recipe("wild")
    path.write_text(path.read_text().replace("lr = 0.01", "lr = 1e30\nclip = 0"))
    assert cli.main(["train", str(path)]) == 1
    error = capsys.readouterr().err
    assert "moe-teach: Training stopped at step" in error
    assert "Traceback" not in error


def test_what_is_said_of_the_last_good_checkpoint_can_be_typed(recipe, monkeypatch, capsys):
    def failing(model, batches, *rest, **options):
        return train(model, BreakingBatches(batches, model, 4), *rest, **options)

    monkeypatch.setattr("moe_teach.train.run.train", failing)
    path = recipe()
    path.write_text(path.read_text().replace("checkpoint_every = 4", "checkpoint_every = 1"))
    assert cli.main(["train", str(path)]) == 1
    (behind,) = re.findall(r"FILE\.toml(\S*) to a command\.", capsys.readouterr().err)
    assert behind == ":previous"
    assert cli.main(["generate", "1 + 1", "--tokens", "1", "--recipe", f"{path}{behind}"]) == 0


def test_ctrl_c_ends_training_in_a_sentence(recipe, monkeypatch, capsys):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("moe_teach.train.run.run_recipe", interrupted)
    assert cli.main(["train", str(recipe())]) == 130
    assert "goes on after the last checkpoint" in capsys.readouterr().out


def test_two_processes_have_the_losses_of_one(recipe, tmp_path):
    """The same command under torchrun, over gloo, against the same recipe in this process."""
    together, alone = recipe("together"), recipe("alone")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launch, "-m", "moe_teach.cli", "train", str(together)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        capture_output=True,
    )
    run_recipe(read_recipe(alone), progress=False, say=lambda _: None)

    one, other = (History.load(tmp_path / n / "history.json") for n in ("alone", "together"))
    assert len(one) == len(other) == 6
    for a, b in zip(one.records, other.records, strict=True):
        assert b.task_loss == pytest.approx(a.task_loss, rel=1e-5)
        assert b.load_balance_loss == pytest.approx(a.load_balance_loss, rel=1e-5)
        assert b.z_loss == pytest.approx(a.z_loss, rel=1e-5)
        assert b.grad_norm == pytest.approx(a.grad_norm, rel=1e-4)
        assert b.loads == a.loads
    assert dict(other.validation) == pytest.approx(dict(one.validation), rel=1e-5)
