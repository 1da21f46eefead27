"""Exported models in transformers: equal logits, experts, texts and tensors, and back again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from moe_teach.bench import parity
from moe_teach.bench.parity_models import TINY, tiny
from moe_teach.checkpoint.chat import PLAIN_CHAT
from moe_teach.checkpoint.hf_export import export_hf, write_folder
from moe_teach.checkpoint.hf_files import small_files
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.checkpoint.layouts import layout_named
from moe_teach.data.tokenizer import load_tokenizer
from moe_teach.nn.model import Model
from moe_teach.nn.router import Router
from moe_teach.train.generate import generate
from moe_teach.train.shipped import WEIGHTS, load_shipped

pytest.importorskip("transformers")

SHIPPED = "shipped"
TEXTS = ("", "a", "def add(a, b):\n    return a + b\n", "Été 東京\t<|end|> x", "\x00\x7f  \n\n")


def tokenizer_text() -> str:
    return (WEIGHTS / "four_domains" / "tokenizer.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=(*TINY, SHIPPED))
def pair(request, tmp_path_factory):
    """One of our models, its folder, and what transformers makes of it."""
    folder = tmp_path_factory.mktemp(request.param) / "exported"
    if request.param == SHIPPED:
        ours = load_shipped().model
        export_hf(ours, folder, tokenizer_json=tokenizer_text(), chat_template=PLAIN_CHAT)
    else:
        ours = tiny(request.param)
        export_hf(ours, folder, request.param)
    return ours, folder, parity.opened_by_transformers(folder)


def experts_chosen_by(theirs, token_ids) -> list[torch.Tensor]:
    """Watch every gate and return the chosen experts of every MoE layer (T, K), sorted."""
    seen = []
    gates = [part for name, part in theirs.named_modules() if name.endswith("mlp.gate")]
    hooks = [
        gate.register_forward_hook(lambda _gate, _x, out: seen.append(out[-1].sort().values))
        for gate in gates
    ]
    with torch.no_grad():
        theirs(token_ids)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("backend", parity.BACKENDS)
def test_logits_are_equal(pair, backend: str) -> None:
    ours, _, theirs = pair
    theirs.set_experts_implementation(backend)

    assert parity.difference(ours, theirs, parity.some_text(ours)) < 1e-4


def test_every_token_chooses_the_same_experts_in_every_layer(pair) -> None:
    ours, _, theirs = pair
    text = parity.some_text(ours)
    with torch.no_grad():
        routings = ours(text).routings
    chosen = experts_chosen_by(theirs, text)

    assert len(routings) == len(chosen) == ours.config.n_moe_layers
    for routing, ids in zip(routings, chosen, strict=True):
        assert torch.equal(routing.expert_ids.sort().values, ids)


def test_what_transformers_saves_again_is_the_same_bit_for_bit(pair, tmp_path: Path) -> None:
    _, folder, theirs = pair
    theirs.save_pretrained(tmp_path)
    written = safetensors.torch.load_file(folder / "model.safetensors")
    again = safetensors.torch.load_file(tmp_path / "model.safetensors")

    assert written.keys() == again.keys()
    for name, tensor in written.items():
        assert tensor.dtype == again[name].dtype, name
        assert torch.equal(tensor, again[name]), name


def test_what_transformers_saved_comes_back_as_our_model(pair, tmp_path: Path) -> None:
    ours, _, theirs = pair
    theirs.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    back = import_hf(tmp_path).model
    text = parity.some_text(ours)

    with torch.no_grad():
        assert torch.equal(back(text).logits, ours(text).logits)


def test_greedy_texts_are_equal_with_a_cache_on_both_sides(pair) -> None:
    ours, _, theirs = pair
    theirs.set_experts_implementation("grouped_mm")
    for length in (1, 7, 30):
        beginning = parity.some_text(ours)[0, :length]
        expected = theirs.generate(
            beginning[None], max_new_tokens=12, min_new_tokens=12, do_sample=False
        )

        assert (
            generate(ours, beginning.tolist(), 12, temperature=0.0) == expected[0, length:].tolist()
        )


def test_padding_on_the_left_changes_no_text_there_either(pair) -> None:
    ours, _, theirs = pair
    text = parity.some_text(ours)[:2, :9].clone()
    real = torch.ones_like(text, dtype=torch.bool)
    real[1, :4] = False
    text[~real] = 0
    with torch.no_grad():
        expected = theirs(
            text, attention_mask=real.long(), position_ids=(real.cumsum(-1) - 1).clamp_min(0)
        ).logits
        logits = ours(text, real=real).logits

    torch.testing.assert_close(logits[real], expected[real], atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def their_tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer") / "exported"
    model = load_shipped().model
    export_hf(model, folder, tokenizer_json=tokenizer_text(), chat_template=PLAIN_CHAT)
    return parity.quiet_transformers().AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", TEXTS)
def test_token_ids_are_equal_both_ways(their_tokenizer, text: str) -> None:
    ours = load_tokenizer(WEIGHTS / "four_domains")
    ids = ours.encode(text)

    assert their_tokenizer(text)["input_ids"] == ids
    assert their_tokenizer.decode(ids, skip_special_tokens=True) == ours.decode(ids)
    assert their_tokenizer.eos_token_id == ours.end_id


def test_a_conversation_becomes_the_text_of_the_template(their_tokenizer) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi {{x}}"}]
    text = their_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    assert text == "system:\nBe brief.\n\nuser:\nHi {{x}}\n\nassistant:\n"


def forced(model: Model, layout: str, folder: Path):
    """Write a model in a layout, past the guard, and let transformers open it."""
    wrong = layout_named(layout)
    texts = small_files(wrong, model.config, torch.float32, None, None, None)
    write_folder(model, folder, wrong, texts, torch.float32)
    return parity.opened_by_transformers(folder)


def unnormalised(config):
    router = replace(config.moe.router, normalize_gates=False)
    return replace(config, moe=replace(config.moe, router=router))


def test_the_gate_of_logits_sees_gates_that_are_normalised_on_one_side_only(tmp_path: Path) -> None:
    model = tiny("mixtral", unnormalised)
    with pytest.raises(ValueError, match="normalize_gates"):
        export_hf(model, tmp_path / "guarded", "mixtral")

    theirs = forced(model, "mixtral", tmp_path / "forced")

    assert parity.difference(model, theirs, parity.some_text(model)) > 100 * parity.LIMIT


def test_the_gate_of_logits_sees_a_selection_bias_that_was_dropped(tmp_path: Path) -> None:
    model = tiny("mixtral")
    for part in model.modules():
        if isinstance(part, Router):
            part.expert_bias.normal_(std=0.3)
    with pytest.raises(ValueError, match="selection bias"):
        export_hf(model, tmp_path / "guarded", "mixtral")

    theirs = forced(model, "mixtral", tmp_path / "forced")

    assert parity.difference(model, theirs, parity.some_text(model)) > 100 * parity.LIMIT


@pytest.mark.parametrize(
    ("d_ff", "dtype", "is_odd"),
    [(43, "float32", True), (20, "float32", False), (20, "bfloat16", True)],
)
def test_experts_of_an_odd_width_say_how_they_can_be_computed(
    d_ff: int, dtype: str, is_odd: bool, tmp_path: Path
) -> None:
    def of_width(config):
        return replace(config, d_model=40, moe=replace(config.moe, d_ff=d_ff))

    model = tiny("mixtral", of_width)
    export_hf(model, tmp_path / "odd", dtype=getattr(torch, dtype))
    said = json.loads((tmp_path / "odd" / "config.json").read_text())
    theirs = parity.opened_by_transformers(tmp_path / "odd", dtype="auto")
    back = import_hf(tmp_path / "odd").model

    assert said.get("experts_implementation") == ("eager" if is_odd else None)
    assert parity.difference(back, theirs, parity.some_text(model)) < (
        1e-4 if dtype == "float32" else 0.5
    )


def test_bfloat16_is_written_as_such_and_the_selection_bias_is_not(tmp_path: Path) -> None:
    model = tiny("glm4_moe")
    export_hf(model, tmp_path / "narrow", dtype=torch.bfloat16)
    theirs = parity.opened_by_transformers(tmp_path / "narrow", dtype="auto")
    back = import_hf(tmp_path / "narrow").model
    stored = safetensors.torch.load_file(tmp_path / "narrow" / "model.safetensors")
    biases = {name for name in stored if name.endswith("e_score_correction_bias")}

    assert json.loads((tmp_path / "narrow" / "config.json").read_text())["dtype"] == "bfloat16"
    assert {stored[name].dtype for name in biases} == {torch.float32}
    assert {stored[name].dtype for name in stored.keys() - biases} == {torch.bfloat16}
    assert theirs.dtype == back.embedding.weight.dtype == torch.bfloat16
    for part, same in zip(model.modules(), back.modules(), strict=True):
        if isinstance(part, Router):
            assert torch.equal(part.expert_bias, same.expert_bias)
