"""A model written as GGUF is the same model in llama.cpp, or no file is written."""

import copy
import dataclasses
import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("gguf", reason="the extra `deploy` brings gguf")
pytest.importorskip("xllamacpp", reason="llama.cpp comes as the wheel xllamacpp, on Linux only")

from moe_teach.bench.gguf_parity import (
    CASES,
    LARGEST,
    Case,
    compare,
    drawn,
    greedy,
    log_probs,
    measure,
)
from moe_teach.bench.llama_cpp import LlamaCpp
from moe_teach.checkpoint.gguf import export, reasons
from moe_teach.checkpoint.gguf.architectures import ARCHITECTURES
from moe_teach.checkpoint.gguf.export import architecture_of, export_gguf, write
from moe_teach.checkpoint.gguf.vocabulary import of_tokenizer
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.tokenizer import END, BPETokenizer, ByteTokenizer, train_bpe
from moe_teach.nn.feed_forward import FeedForward
from moe_teach.nn.model import Model
from moe_teach.ops.quantise import KINDS, quantise
from moe_teach.train.shipped import TOKENIZER, WEIGHTS, load_shipped

BY_NAME = {case.name: case for case in CASES}
CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
AWKWARD = (
    "The tokenizer, and 12 + 30 = 44.\n\n\tdef f(x):\r\n    return  x ** 2  # it's\n"
    "São Tomé ja Príncipe — «日本語» 🙂👩‍👧 \u00a0\u200d\x00\x7f e\u0301 ½²³ ١٢٣ don't we'll I'M  "
)


def config(**router: object) -> ModelConfig:
    return ModelConfig(
        n_layers=2,
        d_model=32,
        vocab_size=96,
        attention=AttentionConfig(n_heads=4, n_kv_heads=2, d_head=8),
        moe=MoEConfig(router=RouterConfig(**{"n_experts": 4, "top_k": 2} | router), d_ff=32),
        max_seq_len=128,
    )


def forced(model: Model, file: Path, name: str, **changes: object) -> LlamaCpp:
    """Write a model under a name that the guard refuses, and open it."""
    architecture = replace(ARCHITECTURES[name], **changes)
    write(model, file, architecture, of_tokenizer(None, 96, None), KINDS["F32"])
    return LlamaCpp(file, 128)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_llama_cpp_computes_what_the_model_computes(case: Case) -> None:
    parity = measure(case)

    assert parity.architecture == case.architecture
    assert parity.largest < LARGEST
    assert parity.same_tokens == parity.n_tokens > 0


def qwen_without_renormalising() -> Model:
    of_qwen = BY_NAME["Qwen3-MoE"].model().config
    router = replace(of_qwen.moe.router, normalize_gates=False)
    return drawn(replace(of_qwen, moe=replace(of_qwen.moe, router=router)))


def olmoe_renormalising() -> Model:
    of_olmoe = BY_NAME["OLMoE"].model().config
    router = replace(of_olmoe.moe.router, normalize_gates=True)
    return drawn(replace(of_olmoe, moe=replace(of_olmoe.moe, router=router)))


def mixtral_with_bias() -> Model:
    return drawn(BY_NAME["Mixtral"].model().config, with_bias=True)


def glm_by_softmax() -> Model:
    of_glm = BY_NAME["GLM-4-MoE"].model().config
    router = replace(of_glm.moe.router, score_fn="softmax")
    return drawn(replace(of_glm, moe=replace(of_glm.moe, router=router)), with_bias=True)


@pytest.mark.parametrize(
    ("make", "name", "changes", "sentence"),
    [
        (
            qwen_without_renormalising,
            "qwen3moe",
            {},
            "qwen3moe: it does not renormalise the gates of the chosen, which there is always done",
        ),
        (
            olmoe_renormalising,
            "olmoe",
            {},
            "olmoe: it renormalises the gates of the chosen, which there is never done",
        ),
        (
            mixtral_with_bias,
            "llama",
            {},
            r"llama: its routers choose with a selection bias \(expert_bias\)",
        ),
        (
            glm_by_softmax,
            "glm4moe",
            {"normalizes": True},  # then the file does not say which scores it means
            "glm4moe: its scores are a softmax, there a sigmoid",
        ),
    ],
    ids=["qwen3moe not renormalised", "olmoe renormalised", "bias in llama", "softmax in glm4moe"],
)
def test_a_wrong_pairing_is_refused_and_forced_past_the_guard_it_fails_the_gate(
    tmp_path: Path, make, name: str, changes: dict, sentence: str
) -> None:
    """The file loads and writes text: only the numbers show it. So the gate must see it."""
    model = make()
    with pytest.raises(ValueError, match=sentence):
        export_gguf(model, tmp_path / "model.gguf", architecture=name)
    assert list(tmp_path.iterdir()) == []

    parity = compare(name, name, model, forced(model, tmp_path / "model.gguf", name, **changes))

    assert parity.largest > 100 * LARGEST
    assert not parity.passes


def test_without_reordered_rows_for_the_rotation_the_gate_fails(tmp_path: Path) -> None:
    model = BY_NAME["Mixtral"].model()
    peer = forced(model, tmp_path / "model.gguf", "llama", turns_neighbours=False)
    assert compare("", "", model, peer).largest > 100 * LARGEST


def moe(**changes: object) -> Model:
    return Model(replace(config(), moe=replace(config().moe, **changes)))


def layers(**changes: object) -> Model:
    return Model(replace(config(), **changes))


def attention(**changes: object) -> Model:
    return Model(replace(config(), attention=replace(config().attention, **changes)))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: Model(config(gate_scale=2.0)), "its gates are multiplied by 2.0"),
        (lambda: Model(config(choice="expert")), "its experts choose the tokens"),
        (lambda: Model(config(choice="table", table_size=96)), "a table of token ids chooses"),
        (lambda: Model(config(score_fn="sqrt_softplus")), "its scores are a sqrt_softplus"),
        (lambda: Model(config(topk_first=True, normalize_gates=False)), "the chosen alone"),
        (lambda: Model(config(n_groups=2, top_groups=1)), "its experts stand in 2 groups"),
        (
            lambda: Model(config(n_groups=2, top_groups=1, group_score="best")),
            "judged by their best expert",
        ),
        (lambda: Model(config(n_groups=4, top_groups=2)), "its groups hold one expert each"),
        (lambda: Model(config(norm_order=2.0)), "divides gates by their 2.0-norm"),
        (lambda: Model(config(norm_floor=0.5)), "it divides gates by no less than 0.5"),
        (lambda: Model(config(bias=True)), "its routers add a bias to the logits"),
        (lambda: moe(bias=True), "its experts have biases"),
        (lambda: moe(swiglu_limit=7.0), "its SwiGLU is bounded or bent"),
        (lambda: moe(gates_on="input"), "its gates multiply what experts read"),
        (lambda: moe(n_identity_experts=1), "some of its experts give their input back"),
        (lambda: moe(n_shared_experts=1, shared_gate=True), "its shared expert is 'gated'"),
        (lambda: moe(activation="gelu"), "its experts are gelu networks, and there SwiGLU"),
        (lambda: moe(activation="geglu"), "its experts are geglu networks"),
        (lambda: moe(capacity_factor=1.0), "capacity, which turns tokens away"),
        (lambda: moe(capacity=2), "capacity, which turns tokens away"),
        (lambda: layers(moe_every=2, d_ff_dense=32), "later layers have no experts"),
        (lambda: attention(bias=True), "its attention has biases"),
        (lambda: attention(qk_norm="full"), "its query heads share key heads"),
        (
            lambda: layers(moe=None, d_ff_dense=32, activation="relu"),
            "its layers are relu networks, not SwiGLU",
        ),
    ],
)
def test_a_model_that_no_architecture_computes_is_refused_with_every_reason(
    model, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        export_gguf(model(), tmp_path / "model.gguf")

    for name in ARCHITECTURES:
        assert f"- {name}: " in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [ModelConfig, AttentionConfig, MoEConfig, RouterConfig])
def test_a_rule_of_tomorrow_is_refused_until_it_is_compared(kind: type) -> None:
    """A new field of a configuration is a new rule: no file may pass over it."""
    read = set(reasons.READ[kind])
    assert read <= {field.name for field in dataclasses.fields(kind)}
    tomorrow = dataclasses.make_dataclass(
        "Tomorrow", [("new_rule", bool, False)], bases=(kind,), frozen=True, kw_only=True
    )
    of_today = {ModelConfig: config(), AttentionConfig: config().attention}
    of_today |= {MoEConfig: config().moe, RouterConfig: config().moe.router}
    stated = {f.name: getattr(of_today[kind], f.name) for f in dataclasses.fields(kind)}
    assert reasons.unread(of_today[kind], kind) == []
    assert reasons.unread(tomorrow(**stated, new_rule=True), kind) == [
        "its new_rule is True, and there is no such thing there"
    ]


class Mine(nn.Module):
    def __init__(self, router: nn.Module) -> None:
        super().__init__()
        self.router = router

    def forward(self, x, token_ids=None):
        return self.router(x, token_ids)


def test_a_part_of_ones_own_is_refused_by_name_because_a_file_holds_no_program() -> None:
    model = Model(config())
    model.blocks[1].ffn.router = Mine(model.blocks[1].ffn.router)
    with pytest.raises(ValueError, match=r"blocks\.1\.ffn\.router is a Mine"):
        export_gguf(model, "never.gguf")
    with pytest.raises(ValueError, match="Mine is a class of your own"):
        export_gguf(Mine(model), "never.gguf")


def test_a_model_changed_behind_its_configuration_is_refused() -> None:
    model = Model(config())
    model.blocks[0].ffn.router.config = RouterConfig(n_experts=4, top_k=1)
    with pytest.raises(ValueError, match=r"blocks\.0\.ffn\.router was changed after the model"):
        export_gguf(model, "never.gguf")

    model = Model(config())
    model.blocks[1].ffn.shared_expert = FeedForward(32, 32)
    with pytest.raises(ValueError, match=r"blocks\.1\.ffn\.shared_expert.* has the shape"):
        export_gguf(model, "never.gguf")

    model = Model(config())
    model.blocks[1].ffn.experts = Model(config(n_experts=3)).blocks[1].ffn.experts
    with pytest.raises(ValueError, match=r"experts.w_\w+ has the shape \(3, 32, 32\)"):
        export_gguf(model, "never.gguf")


def test_an_unknown_architecture_is_refused_with_those_that_are_written() -> None:
    with pytest.raises(ValueError, match=r"'mixtral' is no architecture .*: llama, qwen3moe"):
        architecture_of(Model(config()), "mixtral")


def test_a_broken_weight_is_refused_by_name_and_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"old")
    model = Model(config())
    with torch.no_grad():
        model.blocks[1].ffn.experts.w_up[3, 2, 1] = torch.nan

    with pytest.raises(ValueError, match=r"blk.1.ffn_up_exps.weight .* 1 of 4096 weights are NaN"):
        export_gguf(model, file)

    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_model_in_bfloat16_gives_the_file_of_its_own_numbers(tmp_path: Path) -> None:
    narrow = drawn(config()).to(torch.bfloat16)
    wide = copy.deepcopy(narrow).float()
    for name, model in (("narrow", narrow), ("wide", wide)):
        export_gguf(model, tmp_path / name)
    assert (tmp_path / "narrow").read_bytes() == (tmp_path / "wide").read_bytes()


def test_tensors_are_brought_to_the_file_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of bfloat16 needs its own memory and that of two tensors, never a second model."""
    model = Model(config()).to(torch.bfloat16)
    made: list[weakref.ref] = []

    def watched(weights, kind):
        record = quantise(weights, kind)
        made.append(weakref.ref(record.codes))
        assert sum(codes() is not None for codes in made) <= 2
        return record

    monkeypatch.setattr(export, "quantise", watched)
    export_gguf(model, tmp_path / "model.gguf")
    assert len(made) == 23


# --- the tokenizer ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bpe(tmp_path_factory) -> tuple[LlamaCpp, BPETokenizer, Model]:
    """The shipped model, its tokenizer and a chat template, as llama.cpp opens them."""
    folder = tmp_path_factory.mktemp("bpe")
    tokenizer_json = (WEIGHTS / "four_domains" / TOKENIZER).read_text()
    shipped = load_shipped()
    export_gguf(shipped.model, folder / "s.gguf", tokenizer_json=tokenizer_json, chat_template=CHAT)
    return LlamaCpp(folder / "s.gguf"), shipped.tokenizer, shipped.model


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory) -> LlamaCpp:
    folder = tmp_path_factory.mktemp("bytes")
    model = drawn(replace(config(), vocab_size=256))
    export_gguf(model, folder / "b.gguf", tokenizer_json=ByteTokenizer().save(folder).read_text())
    return LlamaCpp(folder / "b.gguf", 128)


def test_the_bpe_tokenizer_gives_the_same_ids(bpe) -> None:
    peer, tokenizer, _ = bpe
    for text in (AWKWARD, "", " ", "a", "\n\n\n  x", f"one{END}two", AWKWARD[::-1]):
        assert peer.tokenize(text) == tokenizer.encode(text)


def test_the_byte_tokenizer_gives_the_same_ids(bytewise: LlamaCpp) -> None:
    for text in (AWKWARD, "", " ", "<|none|> <|none|>"):
        assert bytewise.tokenize(text) == list(text.encode())


def test_the_chat_template_is_the_one_that_was_given(bpe) -> None:
    peer = bpe[0]
    messages = [{"role": "user", "content": "12 + 30 ="}]
    assert peer.chat_prompt(messages) == "user: 12 + 30 =\nassistant:"


def test_the_shipped_model_writes_the_same_text(bpe) -> None:
    peer, tokenizer, model = bpe
    prompt = tokenizer.encode("The specification of the")
    theirs = peer.greedy(prompt, 24)
    assert theirs == greedy(model, prompt, 24)


def test_a_vocabulary_smaller_than_the_models_is_filled_with_tokens_nobody_uses(
    tmp_path: Path,
) -> None:
    tokenizer = train_bpe(["the cat and the hat " * 40], 270)
    model = drawn(replace(config(), vocab_size=300))
    file = tmp_path / "model.gguf"
    export_gguf(model, file, tokenizer_json=tokenizer.save(tmp_path).read_text())
    peer = LlamaCpp(file, 128)

    prompt = tokenizer.encode("the hat")
    difference = peer.log_probs(prompt, 40) - log_probs(model, torch.tensor(prompt))
    assert peer.tokenize("the hat") == prompt
    assert difference.abs().max() < LARGEST
    assert len(difference) == 300


def test_a_tokenizer_of_another_model_or_kind_is_refused(tmp_path: Path) -> None:
    model, file = Model(config()), tmp_path / "model.gguf"
    of_bytes = ByteTokenizer().save(tmp_path).read_text()
    with pytest.raises(ValueError, match="highest id is 255, but the model reads 96 different"):
        export_gguf(model, file, tokenizer_json=of_bytes)
    with pytest.raises(ValueError, match="A chat template and an end token are read by a token"):
        export_gguf(model, file, chat_template=CHAT)
    with pytest.raises(ValueError, match="is not the text of a tokenizer"):
        export_gguf(model, file, tokenizer_json="{")
    wide = Model(replace(config(), vocab_size=256))
    with pytest.raises(ValueError, match="has no token '<never>' to end a text with"):
        export_gguf(wide, file, tokenizer_json=of_bytes, end_token="<never>")
    for key, value in (("add_prefix_space", True), ("type", "Whitespace")):
        other = json.loads(of_bytes)
        other["pre_tokenizer"][key] = value
        with pytest.raises(ValueError, match="tokenizer of another kind than this course trains"):
            export_gguf(wide, file, tokenizer_json=json.dumps(other))
    assert not file.exists()


def test_the_end_token_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    """Generation stops at it: the model's own continuation up to there, and no further."""
    model = drawn(replace(config(), vocab_size=256))
    of_bytes = ByteTokenizer().save(tmp_path).read_text()
    goes_on = greedy(model, [66, 67], 12)
    end = next(byte for byte in goes_on if byte >= 33 and byte < 127)
    file = tmp_path / "model.gguf"
    export_gguf(model, file, tokenizer_json=of_bytes, end_token=chr(end))

    theirs = LlamaCpp(file, 128).greedy([66, 67], 12)
    assert theirs == goes_on[: goes_on.index(end) + 1]


def test_what_was_written_is_said(tmp_path: Path) -> None:
    model = Model(config())
    written = export_gguf(model, tmp_path / "model.gguf", expert_type="Q8_0")
    n_weights = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)

    assert dataclasses.asdict(written) == {
        "file": tmp_path / "model.gguf",
        "architecture": "llama",
        "n_tensors": 3 + 2 * 10,
        "n_bytes": (tmp_path / "model.gguf").stat().st_size,
        "expert_bytes": n_weights * 34 // 32,
    }


def test_a_file_that_llama_cpp_does_not_open_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "cut.gguf"
    export_gguf(Model(config()), file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"llama.cpp does not open .*cut.gguf"):
        LlamaCpp(file)
