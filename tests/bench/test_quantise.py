"""The tables of few bits: every budget is one size, and the control is what it says."""

import pytest
import torch

from moe_teach.bench import quantise
from moe_teach.bench.cli import VERBS, parser
from moe_teach.bench.gguf_parity import drawn
from moe_teach.config import AttentionConfig, ModelConfig, MoEConfig, RouterConfig
from moe_teach.data.batches import Batch
from moe_teach.deploy.quantise.divergence import diverge, reference
from moe_teach.deploy.quantise.plans import expert_plan, n_bytes, rounded
from moe_teach.ops.quantise import KINDS


@pytest.fixture(scope="module")
def subject() -> quantise.Subject:
    """A tiny model in the place of the shipped one, on text of chance."""
    config = ModelConfig(
        n_layers=4,
        d_model=32,
        vocab_size=48,
        attention=AttentionConfig(n_heads=2, n_kv_heads=1, d_head=16),
        moe=MoEConfig(router=RouterConfig(n_experts=4, top_k=2), d_ff=32),
        max_seq_len=32,
    )
    model = drawn(config, with_bias=True)
    ids = torch.randint(0, 48, (4, 13), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids[:, :-1], ids[:, 1:], torch.tensor([0, 1, 0, 1]))
    return quantise.Subject(model, reference(model, [batch]), ("even", "odd"))


def test_every_kind_has_a_row_and_the_original_no_divergence(subject: quantise.Subject) -> None:
    rows = list(quantise.kinds_table(subject))
    assert [row[0] for row in rows] == list(KINDS)
    assert all(len(row) == len(quantise.kinds_header(subject)) for row in rows)
    assert rows[0][3] == "0.00000 (0.00000 to 0.00000)"
    assert rows[0][-1] == "100.0"
    sizes = [float(row[2]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)


def test_every_way_to_spend_a_budget_takes_the_same_bytes(subject: quantise.Subject) -> None:
    budgets = quantise.budgets(subject)
    sizes = {
        name: {n_bytes(subject.model, plan) for _, plans in ways for plan in plans}
        for name, ways in budgets.items()
    }
    assert all(len(of_one) == 1 for of_one in sizes.values())
    assert len(set.union(*sizes.values())) == len(budgets) == 3
    rows = list(quantise.equal_bytes_table(subject))
    assert len(rows) == sum(len(ways) for ways in budgets.values())
    first = [row for row in rows if row[3] == ""]
    assert [row[0] for row in first] == list(budgets)


def test_the_control_of_chance_is_the_mean_of_its_draws(subject: quantise.Subject) -> None:
    name, plans = next(
        way
        for ways in quantise.budgets(subject).values()
        for way in ways
        if way[0].startswith("8 bits for experts at random")
    )
    assert len(plans) == quantise.N_RANDOM
    assert len({str(sorted((n, k[0].name) for n, k in plan.items())) for plan in plans}) > 1
    kls = [diverge(rounded(subject.model, plan), subject.original).kl.mean() for plan in plans]
    row = next(row for row in quantise.equal_bytes_table(subject) if row[1] == name)
    assert row[2].startswith(f"{float(sum(kls) / len(kls)):.5f}")


def test_the_peer_is_llama_cpp_on_the_file(subject: quantise.Subject) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp comes as the wheel xllamacpp, on Linux only")
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in quantise.peer_table(subject)}
    assert list(rows) == list(KINDS)
    assert rows["F32"][0] == 0 and rows["F32"][1] < 1e-4
    for name in ("Q8_0", "Q4_0", "MXFP4"):
        weights, engine, both = rows[name]
        assert both < 1e-4 < engine
        assert both < weights


def test_parts_and_the_words_about_them_are_told(subject: quantise.Subject) -> None:
    titles = [title for title, *_ in quantise.tables(subject)]
    assert len(titles) == len(set(titles)) == 4
    parts = list(quantise.parts_table(subject))
    assert {row[1] for row in parts} == set(quantise.SENSITIVE_TO)
    assert all(len(row) == len(quantise.PARTS_HEADER) for row in parts)
    assert "4 windows" in quantise.about(subject)
    assert "even " in quantise.about(subject)
    assert expert_plan(subject.model, "Q4_0")


def test_the_command_knows_the_benchmark() -> None:
    assert "quantise" in VERBS
    assert parser().parse_args(["quantise", "--windows", "3"]).windows == 3
