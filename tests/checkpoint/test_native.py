"""A model that was saved is the model that is opened, or a sentence says why not."""

import json
import re
from pathlib import Path

import pytest
import torch

from moe_teach.bench.parity_models import TINY, tiny
from moe_teach.checkpoint import native, store
from moe_teach.checkpoint.model_tensors import named_tensors
from moe_teach.checkpoint.native import load_model, save_model
from moe_teach.checkpoint.store import DamagedCheckpoint

TOKENIZER = json.dumps(
    {
        "added_tokens": [{"id": 3, "content": "<|end|>"}],
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2}, "merges": []},
    }
)


def assert_same(ours: torch.nn.Module, other: torch.nn.Module) -> None:
    here, there = dict(named_tensors(ours)), dict(named_tensors(other))
    assert here.keys() == there.keys()
    for name, tensor in here.items():
        assert tensor.dtype == there[name].dtype, name
        assert torch.equal(tensor, there[name]), name
        assert isinstance(tensor, torch.nn.Parameter) == isinstance(there[name], torch.nn.Parameter)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "mine", tiny("mixtral"), tokenizer_json=TOKENIZER)
    return tmp_path / "mine"


@pytest.mark.parametrize("layout", TINY)
def test_every_kind_of_model_comes_back_bit_by_bit(layout: str, tmp_path: Path) -> None:
    model = tiny(layout).bfloat16()  # and its selection bias in float32
    save_model(tmp_path, model)
    opened = load_model(tmp_path)

    assert opened.model.config == model.config
    assert not opened.model.training
    assert_same(model, opened.model)
    tied = opened.model.unembedding.weight is opened.model.embedding.weight
    assert tied == model.config.tie_embeddings


def test_what_belongs_to_a_model_comes_back_with_it(saved: Path) -> None:
    opened = load_model(saved)

    assert opened.tokenizer_json == TOKENIZER
    assert (opened.end_token, opened.chat_template, opened.layout) == ("<|end|>", None, None)
    save_model(
        saved, tiny("olmoe"), chat_template="{{ x }}", end_token="b", tokenizer_json=TOKENIZER
    )
    assert load_model(saved).chat_template == "{{ x }}"
    assert load_model(saved).end_token == "b"
    assert_same(tiny("mixtral"), load_model(saved, "previous").model)


def test_the_weights_are_opened_in_another_dtype_and_the_bias_is_not(tmp_path: Path) -> None:
    save_model(tmp_path, tiny("ernie4_5_moe"))
    model = load_model(tmp_path, dtype=torch.bfloat16).model

    assert model.embedding.weight.dtype == torch.bfloat16
    router = model.blocks[-1].ffn.router
    assert torch.equal(router.expert_bias, tiny("ernie4_5_moe").blocks[-1].ffn.router.expert_bias)


def tensors_in(folder: Path) -> Path:
    return next(folder.glob("tensors-*.safetensors"))


def cut(folder: Path) -> None:
    file = tensors_in(folder)
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(folder: Path) -> None:
    content = bytearray(tensors_in(folder).read_bytes())
    content[-3] ^= 1
    tensors_in(folder).write_bytes(content)


def edit_the_record(folder: Path) -> None:
    record = folder / "checkpoint.json"
    record.write_text(record.read_text().replace('"top_k": 2', '"top_k": 1'))


@pytest.mark.parametrize("damage", [cut, flip_a_bit, edit_the_record])
def test_what_was_cut_or_edited_is_refused(saved: Path, damage) -> None:
    damage(saved)
    with pytest.raises(DamagedCheckpoint, match=r"damaged|not what was saved"):
        load_model(saved)


def rewritten(folder: Path, **changes: object) -> None:
    tensors, meta = store.load(folder)
    store.save(folder, tensors, meta | changes)


def test_weights_of_another_configuration_are_refused(saved: Path) -> None:
    meta = store.load(saved)[1]
    meta["config"]["n_layers"] = 3
    rewritten(saved, config=meta["config"])
    with pytest.raises(ValueError, match=r"difference is blocks\.2\.attention\.k_proj\.weight"):
        load_model(saved)


def test_an_unknown_field_of_a_configuration_is_refused(saved: Path) -> None:
    meta = store.load(saved)[1]
    rewritten(saved, config=meta["config"] | {"n_layer": 3})
    with pytest.raises(ValueError, match="'n_layer' that means nothing here: did you mean"):
        load_model(saved)


def test_newer_versions_are_told_apart_from_damage(saved: Path, monkeypatch) -> None:
    rewritten(saved, schema=native.SCHEMA + 1)
    with pytest.raises(ValueError, match=r"newer version of the course \(schema 2, and this one"):
        load_model(saved)
    monkeypatch.setattr(store, "SCHEMA", 2)
    save_model(saved, tiny("mixtral"))
    monkeypatch.undo()
    with pytest.raises(ValueError, match=re.escape("checkpoint.json was written by a newer")):
        load_model(saved)


def test_a_training_run_and_a_model_do_not_push_each_other_out(tmp_path: Path) -> None:
    store.save(tmp_path, {"model.x": torch.ones(1)}, {"step": 1})
    with pytest.raises(ValueError, match="holds the checkpoints of a training run"):
        save_model(tmp_path, tiny("mixtral"))
    with pytest.raises(ValueError, match="does not hold a model but the checkpoints of a training"):
        load_model(tmp_path)


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="highest id is 3, but the model reads 3 different ids"):
        native.demand_fitting(TOKENIZER, 3)
    for text in ("{", "[]", "{}"):
        with pytest.raises(ValueError, match=r"not the text of a tokenizer\.json"):
            save_model(tmp_path, tiny("mixtral"), tokenizer_json=text)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no latest checkpoint in"):
        load_model(tmp_path)
