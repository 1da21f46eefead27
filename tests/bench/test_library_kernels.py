"""The library's kernels compile for every target, fit on it, and use what it has."""

import pytest

pytest.importorskip("triton", reason="Triton has packages for Linux only")

from moe_teach.bench import cli
from moe_teach.bench.compile_only import TARGETS, CompileReport, library_reports
from moe_teach.bench.compile_table import MOST_STACK, faults, multiplies, report_cells


@pytest.fixture(scope="module")
def reports() -> list[CompileReport]:
    return library_reports("few")


def test_every_kernel_compiles_fits_and_does_not_spill(reports):
    assert {report.target for report in reports} == set(TARGETS)
    assert list(faults(reports)) == []


def test_every_matmul_in_bfloat16_uses_tensor_cores_and_loads_ahead(reports):
    matmuls = [report for report in reports if multiplies(report)]

    assert {report.target for report in matmuls} == set(TARGETS)
    for report in matmuls:
        assert report.matrix_instructions > 0, report
        if report.target != "gfx942":  # AMD's loads go through registers
            assert report.instructions["cp.async"] > 0, report
    large = [report for report in matmuls if report.target == "sm_90" and "M=128" in report.blocks]
    assert all(report.instructions["wgmma"] for report in large)


def test_no_kernel_uses_atomics(reports):
    assert not [report for report in reports if report.instructions["atomic"]]


def test_faults_are_said_in_sentences():
    sound = CompileReport("k", "sm_80", 32, blocks="BLOCK=64", dtype="bf16")
    broken = CompileReport("k", "sm_80", problem="CompilationError: no")
    large = CompileReport("k", "sm_80", 32, shared_bytes=200 * 1024)
    spilling = CompileReport("k", "sm_80", 255, stack_bytes=MOST_STACK + 1)
    slow = CompileReport("k", "sm_80", 32, blocks="PRECISION=ieee", dtype="bf16")

    said = list(faults([sound, broken, large, spilling, slow]))

    assert len(said) == 4
    for words, sentence in zip(("not compile", "shared", "spills", "tensor"), said, strict=True):
        assert words in sentence
    assert "does not compile: CompilationError: no" in report_cells(broken)


def test_the_command_prints_the_table_and_fails_on_a_fault(monkeypatch, capsys):
    report = CompileReport("my_kernel", "sm_80", 32, blocks="BLOCK=64", dtype="bf16")
    monkeypatch.setattr(cli, "library_reports", lambda *_, progress: [report])
    assert cli.main(["compile", "--few", "--markdown"]) == 0
    assert "| my_kernel | sm_80 | bf16 | BLOCK=64 | 32 |" in capsys.readouterr().out

    spilling = CompileReport("my_kernel", "sm_80", 255, stack_bytes=512)
    monkeypatch.setattr(cli, "library_reports", lambda *_, progress: [spilling])
    assert cli.main(["compile"]) == 1
    assert "spills" in capsys.readouterr().err
