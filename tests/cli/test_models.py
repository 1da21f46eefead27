"""The verbs that bring models out of the course and into it, and what they say to mistakes."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import torch

from moe_teach import cli
from moe_teach.bench.parity_models import tiny
from moe_teach.checkpoint.chat import PLAIN_CHAT
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.checkpoint.native import load_model, save_model
from moe_teach.train.recipe import recipe_from
from moe_teach.train.run import run_recipe
from moe_teach.train.shipped import WEIGHTS, load_shipped
from moe_teach.train.sources import open_source

TEXT = torch.arange(20)[None]
RECIPE = """
[model]
n_layers = 1
d_model = 16
attention = {{n_heads = 2, n_kv_heads = 1, d_head = 8}}
[model.moe]
d_ff = 8
router = {{n_experts = 4, top_k = 2}}
[train]
steps = 2
warmup = 1
batch_size = 2
seq_len = 32
bias_update_rate = 0.01
checkpoint_every = 1
[data]
domains = ["arithmetic"]
limit_bytes = 20_000
[run]
folder = "{folder}"
validation_windows = 1
"""


def run(capsys, *words: object) -> tuple[int, str]:
    status = cli.main([str(word) for word in words])
    said = capsys.readouterr()
    return status, said.out + said.err


def answers(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(TEXT).logits


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    tables = tomllib.loads(RECIPE.format(folder=folder))
    run_recipe(recipe_from(tables), progress=False, say=lambda _: None)
    return folder


def test_the_shipped_model_leaves_and_comes_back_with_its_texts(tmp_path: Path, capsys) -> None:
    status, said = run(capsys, "export", "shipped", "--to", "hf", tmp_path / "hf")
    assert status == 0
    assert "written as ERNIE-4.5-MoE (model_type ernie4_5_moe)" in said
    status, said = run(capsys, "import", tmp_path / "hf", "--to", tmp_path / "mine")
    assert status == 0
    assert "ERNIE-4.5-MoE, 1,909,888 parameters, of which a token uses 533,632" in said

    opened, shipped = open_source(tmp_path / "mine"), load_shipped()
    assert torch.equal(answers(opened.model), answers(shipped.model))
    assert opened.model.config == shipped.model.config
    assert (opened.end_token, opened.chat_template) == ("<|end|>", PLAIN_CHAT)
    assert opened.tokenizer_json == (WEIGHTS / "four_domains" / "tokenizer.json").read_text()


def test_weights_may_be_written_in_bfloat16(tmp_path: Path, capsys) -> None:
    words = ("export", "shipped", "--to", "hf", tmp_path / "hf", "--dtype", "bfloat16")
    assert run(capsys, *words)[0] == 0

    # They are stored so in the package.
    back = import_hf(tmp_path / "hf", torch.float32).model
    assert torch.equal(answers(back), answers(load_shipped().model))


def test_a_run_is_a_source_by_its_folder_and_by_its_recipe(
    trained: Path, tmp_path: Path, capsys
) -> None:
    opened = open_source(trained)
    assert run(capsys, "export", trained, "--to", "hf", tmp_path / "hf")[0] == 0
    back = import_hf(tmp_path / "hf")

    assert torch.equal(answers(back.model), answers(opened.model))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(folder=trained))
    by_recipe = open_source(recipe)
    assert torch.equal(answers(by_recipe.model), answers(opened.model))
    assert back.end_token is None  # of bytes, none ends a text


def test_where_the_last_checkpoint_is_damaged_a_command_takes_the_one_before(
    trained: Path, tmp_path: Path, capsys
) -> None:
    run_folder = shutil.copytree(trained, tmp_path / "run")
    saved = tmp_path / "mine"
    for layout in ("mixtral", "qwen3_moe"):
        save_model(saved, tiny(layout))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(folder=run_folder))
    for folder in (run_folder, saved):
        record = json.loads((folder / "checkpoint.json").read_text())
        (folder / record["tensors"]).write_bytes(b"")

    before = tmp_path / "before"
    for source in (saved, run_folder, recipe):
        status, said = run(capsys, "export", source, "--to", "hf", before / source.name)
        folder = run_folder if source == recipe else source
        assert status == 2
        assert f"is {folder}:previous (or, of a recipe, FILE.toml:previous)" in said
        words = ("export", f"{source}:previous", "--to", "hf", before / source.name)
        assert run(capsys, *words)[0] == 0
    assert torch.equal(
        answers(import_hf(before / "mine").model), answers(load_model(saved, "previous").model)
    )
    assert run(capsys, "import", f"{saved}:previous", "--to", tmp_path / "again")[0] == 0
    assert run(capsys, "generate", "1 + 1", "--tokens", 1, "--recipe", f"{recipe}:previous")[0] == 0


def test_who_asks_for_a_checkpoint_before_that_is_not_there_is_told_so(
    tmp_path: Path, capsys
) -> None:
    save_model(tmp_path / "mine", tiny("mixtral"))
    words = ("export", tmp_path / "mine:previous", "--to", "hf", tmp_path / "hf")
    assert "mine holds no checkpoint before the last" in run(capsys, *words)[1]
    save_model(tmp_path / "odd:previous", tiny("mixtral"))  # a folder may be called so
    words = ("export", tmp_path / "odd:previous", "--to", "hf", tmp_path / "hf")
    assert run(capsys, *words)[0] == 0


def test_a_run_that_has_not_ended_is_told_so(trained: Path, tmp_path: Path, capsys) -> None:
    (trained / "report.json").rename(tmp_path / "report.json")
    status, said = run(capsys, "export", trained, "--to", "hf", tmp_path / "hf")
    (tmp_path / "report.json").rename(trained / "report.json")
    assert status == 2
    assert "its training has not ended: name its recipe" in said


def test_gguf_is_written_into_a_folder_or_as_a_file(tmp_path: Path, capsys) -> None:
    pytest.importorskip("gguf")
    model = tiny("mixtral")
    save_model(tmp_path / "mine", model)
    for place, file in (("a", "a/model.gguf"), ("b.gguf", "b.gguf")):
        status, said = run(capsys, "export", tmp_path / "mine", "--to", "gguf", tmp_path / place)
        assert status == 0, said
        assert "written for llama.cpp (architecture llama)" in said
        assert (tmp_path / file).read_bytes()[:4] == b"GGUF"
    save_model(tmp_path / "raw", tiny("qwen3_moe"))  # its gates are not renormalised
    status, said = run(capsys, "export", tmp_path / "raw", "--to", "gguf", tmp_path / "c")
    assert status == 2
    assert "llama.cpp would compute something else" in said


def test_mistakes_are_answered_in_sentences(tmp_path: Path, capsys) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("")
    (tmp_path / "file").write_text("")
    mistakes = {
        ("export", tmp_path / "none", "--to", "hf", tmp_path / "x"): "There is no model at",
        ("export", "shiped", "--to", "hf", tmp_path / "x"): "There is no model at shiped: name",
        ("export", tmp_path / "full", "--to", "hf", tmp_path / "x"): "holds no model: there is",
        ("export", "shipped", "--to", "hf", tmp_path / "full"): "what it holds is left alone",
        ("export", "shipped", "--to", "hf", tmp_path / "file"): "what it holds is left alone",
        ("export", "shipped", "--to", "hf", tmp_path / "x", "--layout", "mixtral"): (
            "the routers have a selection bias (expert_bias), and it has none. It can be written "
            "as ERNIE-4.5-MoE"
        ),
        ("export", "shipped", "--to", "hf", tmp_path / "x", "--layout", "gpt"): "no layout 'gpt'",
        ("import", tmp_path / "none", "--to", tmp_path / "x"): "There is no folder",
        ("export", "shipped", "--to", "hf", tmp_path / "file" / "x"): "file says: ",
        ("import", tmp_path / "full", "--to", tmp_path / "x"): "There is no config.json in",
    }
    for words, sentence in mistakes.items():
        status, said = run(capsys, *words)
        assert status == 2, words
        assert said.startswith("moe-teach: ") and sentence in said, words
        assert said.rstrip().endswith("."), words
        assert not (tmp_path / "x").exists()


def test_what_is_imported_does_not_push_out_a_training_run(
    trained: Path, tmp_path: Path, capsys
) -> None:
    run(capsys, "export", "shipped", "--to", "hf", tmp_path / "hf")
    status, said = run(capsys, "import", tmp_path / "hf", "--to", trained)

    assert status == 2
    assert "holds the checkpoints of a training run" in said
    assert open_source(trained).model.config.n_layers == 1


def test_a_model_in_the_courses_own_form_is_a_source(tmp_path: Path) -> None:
    save_model(tmp_path, tiny("glm4_moe"))

    assert torch.equal(answers(open_source(tmp_path).model), answers(tiny("glm4_moe")))
    assert torch.equal(answers(load_model(tmp_path).model), answers(tiny("glm4_moe")))


def test_any_model_that_the_course_opens_is_saved_as_ours(tmp_path: Path, capsys) -> None:
    status, said = run(capsys, "import", "shipped", "--to", tmp_path / "mine")
    assert status == 0
    assert said.startswith("A model of the course, ")
    saved, shipped = load_model(tmp_path / "mine"), load_shipped().model
    assert saved.tokenizer_json is not None
    theirs = shipped.state_dict()
    assert all(torch.equal(t, theirs[name]) for name, t in saved.model.state_dict().items())
    status, _ = run(
        capsys, "import", tmp_path / "mine", "--to", tmp_path / "half", "--dtype", "bfloat16"
    )
    assert status == 0
    half = load_model(tmp_path / "half").model
    assert half.embedding.weight.dtype is torch.bfloat16
