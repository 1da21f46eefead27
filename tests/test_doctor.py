"""The doctor names what is wrong and what to do, and never blames the patient for luxuries."""

from pathlib import Path

import pytest

from moe_teach import doctor


def test_a_working_machine_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main() == 0
    assert "Ready." in capsys.readouterr().out


def test_a_missing_luxury_is_limited_and_not_broken() -> None:
    finding = doctor.check_packages("widgets", ("no-such-package",), "run it again.", "limited")

    assert finding.verdict == "limited"
    assert "no-such-package is not installed" in str(finding)
    assert "what to do: run it again." in str(finding)


def test_an_unsupported_python_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1, "final", 0))

    finding = doctor.check_python()

    assert finding.verdict == "broken"
    assert "3.11, 3.12 or 3.13" in finding.remedy


def test_something_broken_is_said_at_the_end_and_in_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1, "final", 0))

    assert doctor.main() == 1
    assert "Not ready yet: Python." in capsys.readouterr().out


def test_a_missing_browser_only_limits_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOE_TEACH_CHROMIUM", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)

    assert doctor.check_browser().verdict == "limited"


def test_progress_is_looked_for_where_the_learner_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOE_TEACH_HOME", str(tmp_path / "mine"))

    assert str(tmp_path) in doctor.check_progress().found
