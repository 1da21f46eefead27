"""What recording costs, measured at a toy size: the table has what was asked for."""

import pytest

from moe_teach.bench import cli, routes


def test_the_shape_has_the_routers_of_olmoe_at_any_width():
    config = routes.shape_of(64)
    router = config.moe.router
    assert (config.n_layers, router.n_experts, router.top_k) == (16, 64, 8)
    assert config.attention.n_heads * config.attention.d_head == config.d_model == 64
    assert routes.shape_of(2048) == routes.OLMOE
    with pytest.raises(ValueError, match="multiple of 32"):
        routes.shape_of(40)


def test_bytes_are_below_the_aim_and_the_table_says_all(capsys):
    cli.main(["routes", "--width", "32", "--tokens", "1", "--markdown"])
    printed = capsys.readouterr()
    last = printed.out.strip().splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells[:3] == ["32", "16", "1,024"]
    assert 250 < float(cells[3]) < 300
    assert cells[6].endswith("%")
    assert cli.main(["routes", "--width", "40"]) == 2
    assert "multiple of 32" in capsys.readouterr().err
