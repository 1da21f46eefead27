"""What recording costs, measured at a toy size: the table has what was asked for."""

import sys
from dataclasses import replace

import pytest

from moe_teach.bench import cli, routes, routes_models


def test_the_shape_has_the_routers_of_olmoe_at_any_width():
    config = routes_models.shape_of(64)
    router = config.moe.router
    assert (config.n_layers, router.n_experts, router.top_k) == (16, 64, 8)
    assert config.attention.n_heads * config.attention.d_head == config.d_model == 64
    assert routes_models.shape_of(2048) == routes_models.OLMOE
    with pytest.raises(ValueError, match="multiple of 32"):
        routes_models.shape_of(40)


def test_bytes_are_near_the_aim_and_the_table_says_all(capsys, monkeypatch):
    pytest.importorskip("transformers")
    few = routes_models.batches_of
    monkeypatch.setattr(
        "moe_teach.bench.routes.batches_of", lambda config, *_, **__: few(config, 1, 2, 128)
    )
    words = ("routes", "--width", "32", "--tokens", "1", "--hooks", "--written", "5000", "--cpu")
    cli.main([*words, "--markdown"])
    printed = capsys.readouterr()
    assert (
        "8,192 invented tokens of 16 layers, written in one go: 2.4 MB in 1 chunks" in printed.out
    )
    lines = printed.out.strip().splitlines()[-2:]
    for kind, line in zip(("ours", "transformers"), lines, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[:4] == [kind, "32", "16", "256"]
        assert 250 < float(cells[4]) < 320  # of so few tokens: the headers count
        share, million = (float(cell.strip("%")) for cell in cells[8:10])
        assert million < share, "the hash is made once"
    assert cli.main(["routes", "--width", "40"]) == 2
    assert "multiple of 32" in capsys.readouterr().err


def test_without_transformers_a_sentence_says_so(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("moe_teach.bench.routes.RECORDED", {"transformers": None})
    assert cli.main(["routes", "--width", "32", "--tokens", "1", "--hooks"]) == 2
    assert "which is not installed: pip install transformers" in capsys.readouterr().err


def test_an_estimate_takes_off_the_hash_and_no_verdict_rests_on_it():
    shape = routes_models.shape_of(32)
    cost = routes.Cost("ours", shape, 500_000, 290.0, 2.0, 3.0, 0.5, 0.8, 0.4)
    assert cost.share_of_a_million == pytest.approx(0.5 - 0.4 / 2)
    assert not replace(cost, share=0.26).is_within
    assert replace(cost, share=0.24).is_within
    assert not replace(cost, share=0.24, mb_per_million=301.0).is_within
