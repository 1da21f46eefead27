"""What recording costs, measured at a toy size: the table has what was asked for."""

import sys

import pytest

from moe_teach.bench import cli, routes_models


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
        forward, hashed = float(cells[5]), float(cells[7])
        share, million = (float(cell.strip("%")) / 100 for cell in cells[8:10])
        assert million == pytest.approx(share - hashed / forward * (1 - 256e-6), abs=0.05)
    assert cli.main(["routes", "--width", "40"]) == 2
    assert "multiple of 32" in capsys.readouterr().err


def test_without_transformers_a_sentence_says_so(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("moe_teach.bench.routes.RECORDED", {"transformers": None})
    assert cli.main(["routes", "--width", "32", "--tokens", "1", "--hooks"]) == 2
    assert "which is not installed: pip install transformers" in capsys.readouterr().err
