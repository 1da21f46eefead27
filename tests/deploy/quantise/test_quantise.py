"""Few bits: exactly the planned weights are rounded, and what it does is measured, not guessed."""

import copy
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from torch import Tensor

from moe_teach.bench.gguf_parity import drawn, log_probs
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.batches import NO_TARGET, Batch
from moe_teach.deploy.quantise.activations import with_rounded_inputs
from moe_teach.deploy.quantise.divergence import (
    Reference,
    diverge,
    estimate,
    hot_and_cold,
    reference,
)
from moe_teach.deploy.quantise.plans import (
    expert_errors,
    expert_plan,
    n_bytes,
    part_plan,
    rounded,
    rounded_part,
)
from moe_teach.deploy.quantise.sensitivity import part_names, plan_of, sensitivity
from moe_teach.nn.model import Model
from moe_teach.ops.quantise import KINDS, dequantise, quantise

CONFIG = ModelConfig(
    n_layers=3,
    d_model=64,
    vocab_size=96,
    attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=32),
    moe=MoEConfig(router=RouterConfig(n_experts=4, top_k=2), d_ff=32, n_shared_experts=1),
    n_dense_layers=1,
    d_ff_dense=64,
    max_seq_len=64,
)


@pytest.fixture(scope="module")
def model() -> Model:
    return drawn(CONFIG, with_bias=True)


def windows(n: int = 6, length: int = 16) -> list[Batch]:
    draws = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 96, (n, length + 1), generator=draws)
    halves = [slice(0, n // 2), slice(n // 2, n)]
    return [
        Batch(ids[rows, :-1], ids[rows, 1:], torch.arange(n)[rows] % 2)
        for rows in halves
        if len(ids[rows])
    ]


@pytest.fixture(scope="module")
def original(model: Model) -> Reference:
    return reference(model, windows())


def changed(before: Model, after: Model) -> set[str]:
    """Return the parameters that are not what they were."""
    others = dict(after.named_parameters())
    return {name for name, p in before.named_parameters() if not torch.equal(p, others[name])}


def test_only_the_planned_experts_are_rounded_and_the_original_stays(model: Model) -> None:
    before = copy.deepcopy(model)
    small = rounded(model, expert_plan(model, "Q4_0", layers=[1], matrices=["w_up", "w_down"]))

    assert not changed(before, model)
    assert changed(model, small) == {f"blocks.2.ffn.experts.{name}" for name in ("w_up", "w_down")}


def test_each_expert_may_have_a_kind_of_its_own(model: Model) -> None:
    small = rounded(model, expert_plan(model, "Q8_0", chosen=[{0, 3}, set()], others="Q4_0"))

    for layer, few in ((1, {0, 3}), (2, set())):
        exact = model.blocks[layer].ffn.experts.w_gate
        found = small.blocks[layer].ffn.experts.w_gate
        for expert in range(4):
            kind = "Q8_0" if expert in few else "Q4_0"
            assert torch.equal(found[expert], dequantise(quantise(exact[expert], kind)))


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("router", {f"blocks.{layer}.ffn.router.proj.weight" for layer in (1, 2)}),
        (
            "shared",
            {
                f"blocks.{layer}.ffn.shared_expert.w_{name}.weight"
                for layer in (1, 2)
                for name in ("gate", "up", "down")
            },
        ),
        (
            "attention",
            {f"blocks.{layer}.attention.{n}_proj.weight" for layer in range(3) for n in "qkvo"},
        ),
        ("embedding", {"embedding.weight", "unembedding.weight"}),
    ],
)
def test_a_part_is_its_matrices_and_nothing_else(model: Model, part: str, names: set[str]) -> None:
    assert changed(model, rounded(model, part_plan(model, part, "Q4_0"))) == names


def test_sizes_are_counted_with_their_scales(model: Model) -> None:
    n_weights = sum(p.numel() for p in model.parameters())
    n_experts = 2 * 3 * 4 * 64 * 32
    assert n_bytes(model, {}) == 4 * n_weights
    plan = expert_plan(model, "Q4_0")
    assert n_bytes(model, plan) == 4 * (n_weights - n_experts) + n_experts * 18 // 32
    assert rounded_part(model, plan) == (n_experts, n_experts * 18 // 32)
    half = expert_plan(model, "Q4_0", chosen=[{0, 1}, {2, 3}])
    assert rounded_part(model, half) == (n_experts // 2, n_experts * 9 // 32)


def test_errors_are_those_of_each_expert_alone() -> None:
    weights = torch.randn(3, 8, 64, generator=torch.Generator().manual_seed(0))
    weights[1] = 0
    weights[2, 0, 0] = 500.0  # an outlier spoils its block, but next to it little else counts
    errors = expert_errors(weights, "Q4_0")

    assert errors[1] == 0
    for expert in (0, 2):
        moved = dequantise(quantise(weights[expert], "Q4_0")) - weights[expert]
        assert errors[expert] == pytest.approx(
            float(moved.norm() / weights[expert].norm()), rel=1e-5
        )
    one = expert_errors(weights[:1].bfloat16(), "Q8_0")
    assert one.shape == (1,)
    assert 0 < one < 0.01 < errors[0] < 0.2


def test_a_tied_embedding_is_one_matrix() -> None:
    tied = Model(replace(CONFIG, tie_embeddings=True))
    small = rounded(tied, part_plan(tied, "embedding", "Q4_0"))
    assert small.unembedding.weight is small.embedding.weight
    assert rounded_part(tied, part_plan(tied, "embedding", "Q4_0"))[0] == 96 * 64


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda m: expert_plan(m, "Q4"), "no kind of quantisation called 'Q4'"),
        (lambda m: expert_plan(m, "Q4_0", layers=[2]), r"2 MoE layers, counted from 0.*no \[2\]"),
        (lambda m: expert_plan(m, "Q4_0", matrices=["up"]), r"has the matrices .* no \['up'\]"),
        (lambda m: expert_plan(m, "Q4_0", chosen=[{0}]), "for 1 layers, but 2 have experts"),
        (lambda m: expert_plan(m, "Q4_0", chosen=[{0}, {4}]), r"experts 0 to 3, but \[4\] are"),
        (lambda m: part_plan(m, "norms", "Q4_0"), "'norms' is no part of a model here"),
        (lambda m: rounded(m, {"w": (KINDS["F32"],)}), "names w, which this model does not have"),
        (lambda m: part_plan(drawn(without_shared()), "shared", "Q4_0"), "has no shared"),
        (
            lambda m: expert_plan(Model(replace(CONFIG, moe=None)), "Q4_0"),
            "This model has no experts",
        ),
        (lambda m: rounded(narrow(), expert_plan(narrow(), "Q4_0")), "Rows of 48 weights do not"),
        (lambda m: reference(m, []), "no text to compare on"),
        (lambda m: diverge(m, reference(m, windows(1))).of("kl"), "at least two windows"),
        (lambda m: hot_and_cold(torch.ones(2, 4, dtype=torch.long), 5), "5 of them cannot be hot"),
        (lambda m: sensitivity(m, windows(), parts=["all"]), "'all' is no part of this model"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(model: Model, ask, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ask(model)


def without_shared() -> ModelConfig:
    return replace(CONFIG, moe=replace(CONFIG.moe, n_shared_experts=0))


def narrow() -> Model:
    return Model(replace(CONFIG, moe=replace(CONFIG.moe, d_ff=48)))


def test_a_copy_does_not_diverge_at_all(model: Model, original: Reference) -> None:
    found = diverge(copy.deepcopy(model), original)
    assert not found.kl.any()
    assert not found.rise.any()
    assert bool((found.agrees == 1).all())


@torch.no_grad()
def test_divergence_is_its_definition_in_float64(model: Model, original: Reference) -> None:
    small = rounded(model, expert_plan(model, "MXFP4"))
    found = diverge(small, original)
    exact = copy.deepcopy(model).double()
    other = copy.deepcopy(small).double()

    row = 0
    for batch in original.batches:
        for ids, targets in zip(batch.inputs, batch.targets, strict=True):
            p, q = (m(ids[None]).logits[0].log_softmax(-1) for m in (exact, other))
            kl = sum(float((p[t].exp() * (p[t] - q[t])).sum()) for t in range(len(ids)))
            rise = sum(float(p[t, targets[t]] - q[t, targets[t]]) for t in range(len(ids)))
            same = sum(int(p[t].argmax() == q[t].argmax()) for t in range(len(ids)))
            assert float(found.kl[row]) == pytest.approx(kl / len(ids), abs=1e-5)
            assert float(found.rise[row]) == pytest.approx(rise / len(ids), abs=1e-5)
            assert float(found.agrees[row]) == pytest.approx(same / len(ids))
            row += 1
    assert float(found.kl.mean()) > 1e-3
    assert row == original.n_windows == 6


def test_tokens_that_are_not_asked_for_count_nowhere(model: Model) -> None:
    short = [Batch(b.inputs[:, :9], b.targets[:, :9], b.domain_ids) for b in windows()]
    cut = []
    for batch in windows():
        targets = batch.targets.clone()
        targets[:, 9:] = NO_TARGET
        cut.append(Batch(batch.inputs, targets, batch.domain_ids))
    small = rounded(model, expert_plan(model, "Q4_0"))
    one, other = (diverge(small, reference(model, b)) for b in (short, cut))
    for name in ("kl", "rise", "agrees"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-6, rtol=1e-5)
    assert torch.equal(reference(model, short).counts, reference(model, cut).counts)


def test_padding_counts_nowhere(model: Model) -> None:
    batch = windows()[0]
    real = torch.ones_like(batch.inputs, dtype=torch.bool)
    real[:, 9:] = False
    padded = Batch(
        batch.inputs, batch.targets.masked_fill(~real, NO_TARGET), batch.domain_ids, real
    )
    short = Batch(batch.inputs[:, :9], batch.targets[:, :9], batch.domain_ids)
    small = rounded(model, expert_plan(model, "Q4_0"))
    one, other = (diverge(small, reference(model, [b])) for b in (short, padded))
    torch.testing.assert_close(one.kl, other.kl, atol=1e-6, rtol=1e-5)


def test_an_expert_that_nobody_chooses_may_be_rounded_for_nothing(model: Model) -> None:
    idle = copy.deepcopy(model)
    for layer in (1, 2):
        idle.blocks[layer].ffn.router.expert_bias[2] = -100.0
    before = reference(idle, windows())
    assert not before.counts[:, 2].any()

    alone = rounded(idle, expert_plan(idle, "Q4_0", chosen=[{2}, {2}]))
    others = rounded(idle, expert_plan(idle, "Q4_0", chosen=[{1}, {1}]))

    assert not diverge(alone, before).kl.any()
    assert diverge(others, before).kl.mean() > 1e-4


def test_domains_are_looked_at_alone(model: Model, original: Reference) -> None:
    found = diverge(rounded(model, expert_plan(model, "Q4_0")), original)
    for domain in (0, 1):
        mine = found.kl[found.domain_ids == domain]
        assert found.of("kl", domain).mean == pytest.approx(float(mine.mean()))
        assert len(mine) == 3
    mean = (original.loss(0) + original.loss(1)) / 2
    assert original.loss() == pytest.approx(mean)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    draws = torch.Generator().manual_seed(0)
    held = 0
    for repeat in range(200):
        found = estimate(torch.randn(40, generator=draws) + 1.0, seed=repeat)
        held += found.low <= 1.0 <= found.high
    assert 0.89 <= held / 200 <= 0.985
    assert estimate(torch.ones(5)) == estimate(torch.ones(5))
    assert estimate(torch.ones(5)).clear
    assert not estimate(torch.tensor([-1.0, 1.0, -1.0, 1.0])).clear


def test_hot_experts_are_those_that_are_chosen_most() -> None:
    counts = torch.tensor([[5, 1, 9, 0], [2, 2, 2, 3]])
    hot, cold = hot_and_cold(counts, 2)
    assert hot == [{2, 0}, {3, 0}]
    assert cold == [{1, 3}, {1, 2}]
    assert hot_and_cold(counts, 4) == ([{0, 1, 2, 3}] * 2, [{0, 1, 2, 3}] * 2)
    assert hot_and_cold(counts, 0) == ([set(), set()], [set(), set()])


def test_every_part_is_tried_alone(model: Model, original: Reference) -> None:
    names = part_names(model)
    assert names[:4] == ["router", "shared", "attention", "embedding"]
    assert names[-2:] == ["layer 0", "layer 1"]
    found = sensitivity(model, original, ["Q4_0"])
    assert [row.part for row in found] == names
    by_part = {row.part: row for row in found}
    whole = by_part["experts"]
    for cut in (("hot half", "cold half"), ("w_gate", "w_up", "w_down"), ("layer 0", "layer 1")):
        assert sum(by_part[part].n_weights for part in cut) == whole.n_weights
        assert sum(by_part[part].n_bytes for part in cut) == whole.n_bytes
    for row in found:
        again = diverge(rounded(model, plan_of(model, row.part, "Q4_0", original)), original)
        assert torch.equal(row.divergence.kl, again.kl)
        assert row.divergence.kl.mean() > 0


def test_a_model_without_shared_expert_has_no_such_part() -> None:
    assert "shared" not in part_names(drawn(without_shared()))


# --- the file of the same bits ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_1", "MXFP4", "BF16"])
def test_the_file_holds_the_very_weights_that_are_measured(
    model: Model, tmp_path: Path, name: str
) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra `deploy` brings gguf")
    from moe_teach.checkpoint.gguf.export import export_gguf

    plan = expert_plan(model, name)
    small = dict(rounded(model, plan).named_parameters())
    written = export_gguf(model, tmp_path / "model.gguf", expert_type=name)
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(written.file).tensors}

    for layer in (1, 2):
        for matrix in ("gate", "up", "down"):
            tensor = found[f"blk.{layer}.ffn_{matrix}_exps.weight"]
            assert tensor.tensor_type.name == name
            held = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            expected = small[f"blocks.{layer}.ffn.experts.w_{matrix}"]
            assert np.array_equal(held.reshape(expected.shape), expected.detach().numpy())
        for kept in ("ffn_gate_inp", "ffn_up_shexp", "attn_q", "ffn_norm"):
            assert found[f"blk.{layer}.{kept}.weight"].tensor_type.name == "F32"
    assert written.expert_bytes == rounded_part(model, plan)[1]


PROMPTS = [[3], [5, 8, 13], list(range(1, 40)), [90, 2] * 20, list(range(60, 10, -1))]


@pytest.mark.parametrize("name", ["Q8_0", "Q5_0", "Q4_0", "MXFP4", "BF16"])
def test_llama_cpp_differs_by_what_it_rounds_besides_the_weights(
    model: Model, tmp_path: Path, name: str
) -> None:
    """Half of all prompts at least: now and then the last bit of a sum decides about a code."""
    pytest.importorskip("xllamacpp", reason="llama.cpp comes as the wheel xllamacpp, on Linux only")
    from moe_teach.bench.llama_cpp import LlamaCpp
    from moe_teach.checkpoint.gguf.export import export_gguf

    file = tmp_path / "model.gguf"
    export_gguf(model, file, expert_type=name)
    peer = LlamaCpp(file, 64)
    weights_only = rounded(model, expert_plan(model, name))
    inputs_too = with_rounded_inputs(weights_only, name)

    def gap(ours: Model) -> float:
        return median(largest_gap(ours, peer.log_probs(p, 30), p) for p in PROMPTS)

    assert gap(inputs_too) < 1e-4
    assert gap(weights_only) > 20 * gap(inputs_too)


def largest_gap(ours: Model, theirs: Tensor, prompt: list[int]) -> float:
    return float((log_probs(ours, torch.tensor(prompt)) - theirs).abs().max())


def test_inputs_in_float32_change_nothing(model: Model) -> None:
    ids = torch.arange(20)[None]
    torch.testing.assert_close(
        with_rounded_inputs(model, "F32")(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5
    )
