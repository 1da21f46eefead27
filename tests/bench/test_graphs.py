"""The table of graphs tells how often a compiled layer is cut, and why."""

from moe_teach.bench.cli import main


def test_the_command_counts_breaks_and_says_why(capsys):
    assert main(["compile-graph", "--dtype", "float32", "--first", "1"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("float32") and "how many rows an expert has" in line
