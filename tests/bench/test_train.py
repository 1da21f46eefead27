"""The benchmark of a training step compares like with like, and its parts add up to the whole."""

import pytest
import torch

from moe_teach.bench import cli
from moe_teach.bench.parts import breakdown
from moe_teach.bench.train import LIMIT, OURS, SIZES, contenders, dense_twin, time_size
from moe_teach.cost import n_params_active, n_params_total
from moe_teach.nn.model import Model

SIZE = SIZES["quick"]


def test_every_contender_takes_a_step_and_is_timed_against_the_limit():
    rows = {row.contender: row for row in time_size(SIZE, budget_s=0.0)}
    assert list(rows)[:2] == [LIMIT, OURS]
    assert rows[LIMIT].timing.ratio == 1.0
    for row in rows.values():
        assert row.tokens_per_second == pytest.approx(64 / row.timing.seconds)


def test_the_dense_limit_has_the_active_size_without_the_routers():
    config = SIZE.model
    routers = config.n_layers * config.d_model * config.moe.router.n_experts
    assert n_params_total(dense_twin(config)) == n_params_active(config) - routers


def test_transformers_model_is_as_large_as_ours():
    transformers = pytest.importorskip("transformers")
    built = []
    init = transformers.MixtralForCausalLM.__init__

    def remember(self, *arguments, **options):
        init(self, *arguments, **options)
        built.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.MixtralForCausalLM, "__init__", remember)
        names = [name for name, _ in contenders(SIZE)]

    assert len(built) == len(names) - 2 == 3
    ours = sum(p.numel() for p in Model(SIZE.model).parameters())
    for model in built:
        assert sum(p.numel() for p in model.parameters()) == ours
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_parts_of_a_step_add_up_to_it():
    parts = list(breakdown(SIZE, budget_s=0.0))
    assert sum(part.share for part in parts) == pytest.approx(1.0)
    assert parts[-1].name == "the rest"
    assert all(part.matmuls >= 0 for part in parts)


def test_the_command_prints_both_tables(capsys):
    assert cli.main(["train", "--size", "quick", "--seconds", "0", "--markdown"]) == 0
    said = capsys.readouterr().out
    assert "| size | contender | ms per step | tokens/s | x limit |" in said
    assert "dispatch and combine" in said
