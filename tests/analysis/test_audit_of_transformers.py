"""An audit of a model of transformers: what hooks see and change is what our own model does."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from moe_teach import cli
from moe_teach.analysis.audit.gather import gather
from moe_teach.analysis.audit.subjects import Hooked
from moe_teach.bench import parity
from moe_teach.bench.parity_models import tiny
from moe_teach.checkpoint.hf_export import export_hf
from moe_teach.checkpoint.hf_foreign import is_foreign, open_foreign
from moe_teach.data.tokenizer import ByteTokenizer

transformers = pytest.importorskip("transformers")

TEXT = "".join(f"{a} + {b} = {a + b}\n" for a in range(5) for b in range(3))
SIZES = {"vocab_size": 256, "max_position_embeddings": 32, "num_hidden_layers": 2}
SIZES |= {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory) -> str:
    return ByteTokenizer().save(tmp_path_factory.mktemp("bytes")).read_text("utf-8")


def audit(model, tokenizer_json: str):
    return gather(model, tokenizer_json, TEXT, model_name="m", text_name="t", shown=5)


def rounded(numbers) -> list[float]:
    return [pytest.approx(number, abs=2e-4) for number in numbers]


@pytest.mark.parametrize("layout", ["ernie4_5_moe", "glm4_moe"])
def test_both_ways_find_the_same(layout, tokenizer_json, tmp_path):
    ours = tiny(layout, lambda config: replace(config, vocab_size=256, max_seq_len=32))
    export_hf(ours, tmp_path / "hf", layout)
    one = audit(ours, tokenizer_json)
    two = audit(Hooked(parity.opened_by_transformers(tmp_path / "hf")), tokenizer_json)
    assert one.loss == pytest.approx(two.loss, abs=2e-4)
    assert (two.not_closed, two.not_capped) == ("", "")
    for mine, theirs in zip(one.layers, two.layers, strict=True):
        assert mine.expert_ids == theirs.expert_ids
        assert list(mine.load) == rounded(theirs.load)
        assert mine.token_bits == pytest.approx(theirs.token_bits, abs=2e-3)
        assert mine.token_chance == pytest.approx(theirs.token_chance, abs=2e-3)
        assert list(mine.margin_points) == rounded(theirs.margin_points)
    for mine, theirs in zip(one.closed, two.closed, strict=True):
        assert (mine.layer, mine.expert, mine.kind) == (theirs.layer, theirs.expert, theirs.kind)
        assert mine.rise == pytest.approx(theirs.rise, abs=2e-4)
        assert mine.changed == theirs.changed
    assert one.crowds == two.crowds
    assert len(two.crowds) == 4
    assert two.crowds[1].dropped > 0
    assert two.layers[0].name == {"ernie4_5_moe": "layer 3", "glm4_moe": "layer 1"}[layout]


def deepseek_v3():
    return transformers.DeepseekV3Config(
        **SIZES,
        intermediate_size=20,
        moe_intermediate_size=12,
        first_k_dense_replace=1,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_group=2,
        topk_group=1,
        n_shared_experts=1,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=8,
    )


def llama4_text():
    return transformers.Llama4TextConfig(
        **SIZES,
        head_dim=8,
        intermediate_size=12,
        intermediate_size_mlp=20,
        num_local_experts=4,
        interleave_moe_layer_step=1,
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory, tokenizer_json) -> Path:
    """A folder of released checkpoints that the importer has no layout for."""
    home = tmp_path_factory.mktemp("released")
    torch.manual_seed(0)
    for config in (deepseek_v3(), llama4_text()):
        model = transformers.AutoModelForCausalLM.from_config(config)
        model.save_pretrained(home / config.model_type)
        (home / config.model_type / "tokenizer.json").write_text(tokenizer_json, "utf-8")
    (home / "sums.txt").write_text(TEXT)
    return home


def run(capsys, *words: object) -> tuple[int, str]:
    status = cli.main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out + said.err


@pytest.mark.parametrize("kind", ["deepseek_v3", "llama4_text"])
def test_a_folder_without_a_layout_becomes_a_page(kind, released, tmp_path, capsys):
    words = ("audit", released / kind, "--text", released / "sums.txt", "--to")
    status, said = run(capsys, *words, tmp_path / "one.html")
    assert status == 0, said
    assert run(capsys, *words, tmp_path / "two.html")[0] == 0
    one, two = ((tmp_path / name).read_bytes() for name in ("one.html", "two.html"))
    assert one == two
    page = one.decode()
    assert f"transformers {transformers.__version__} ({kind}) computed this model" in page
    known = kind == "deepseek_v3"
    assert ("capacity × 1.25" in page) == known
    assert ("decided the next token" in page or "No prediction changed" in page) == known
    assert (
        "What could not be tried.</b> The router of llama4_text does not answer" in page
    ) != known
    assert ("A capacity could not be tried." in page) != known
    assert ("This could not be tried. The router of llama4_text" in page) != known
    assert "Nothing: this model drops no tokens" in page
    assert ("layer 0" in page) != known, "the first layer of DeepSeek-V3 has no experts"


def test_what_hooks_see_of_a_foreign_model_is_what_it_computes(released, tokenizer_json):
    model = open_foreign(released / "deepseek_v3").model
    found = audit(Hooked(model), tokenizer_json)
    ids = Tokenizer.from_str(tokenizer_json).encode(TEXT).ids
    n_windows = (len(ids) - 1) // 32
    inputs, targets = (
        torch.tensor(ids[start : start + 32 * n_windows]).view(n_windows, 32) for start in (0, 1)
    )
    with torch.no_grad():
        logits = model(inputs).logits.double()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    assert found.loss == pytest.approx(float(loss), abs=1e-4)
    assert not any(part._forward_hooks for part in model.modules()), "hooks are taken off"


def test_what_cannot_be_read_is_said(released, tmp_path, capsys, monkeypatch):
    def told(folder: Path) -> str:
        place = tmp_path / "none.html"
        status, said = run(capsys, "audit", folder, "--text", released / "sums.txt", "--to", place)
        assert (status, place.exists()) == (2, False)
        return said

    copy = shutil.copytree(released / "llama4_text", tmp_path / "llama4_text")
    (copy / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in told(copy)
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if "router" in name)
    save_file({k: v for k, v in weights.items() if k != name}, copy / "model.safetensors")
    assert f"lacks tensors of the model, or has them in another shape: {name}" in told(copy)
    (copy / "model.safetensors").write_bytes(b"short")
    assert "transformers could not open" in told(copy)
    (copy / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert is_foreign(copy)
    said = told(copy)
    assert "a model of type 'gpt2'. Those that can be opened here are" in said
    assert "with their routers watched, flex_olmo, qwen2_moe" in said
    with pytest.raises(ValueError, match="id 255, and the model knows 40"):
        small = transformers.AutoModelForCausalLM.from_config(deepseek_v3())
        small.resize_token_embeddings(40)
        Hooked(small).demand_ids(torch.tensor([[3, 255]]))
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "read by transformers, which is not installed" in told(released / "llama4_text")
