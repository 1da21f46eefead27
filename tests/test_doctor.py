"""The doctor names what is wrong and what to do, and never blames the patient for luxuries."""

from pathlib import Path

import pytest

from moe_teach import doctor
from moe_teach.course.learner.desk import lay_out


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


@pytest.fixture
def without_a_clone(monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    monkeypatch.setattr(doctor, "clone", lambda: None)
    return home


def test_without_a_clone_nobody_is_sent_to_files_or_verbs_that_are_not_there(
    without_a_clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)

    assert doctor.main() == 0
    said = capsys.readouterr().out

    assert "make " not in said
    assert "Ready. Type `moe-teach start FOLDER`" in said
    assert "pip install 'moe-teach[lab,kernels]'" in said
    assert "browser tests: they come with the repository" in said


def test_who_lacks_the_peers_of_chapter_08_is_told_the_extra_that_brings_them(
    without_a_clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda name, missing="": missing)

    finding = doctor.check_deploy()

    assert finding.verdict == "limited"
    assert "transformers, gguf, fastapi" in finding.found
    assert "chapter 08" in finding.remedy
    assert "pip install 'moe-teach[deploy]'" in finding.remedy


def test_a_reader_who_has_begun_is_sent_to_their_own_first_lesson(
    without_a_clone: Path, tmp_path: Path
) -> None:
    (tmp_path / "course/notebooks").mkdir(parents=True)
    lay_out(tmp_path / "course", tmp_path / "my folder")

    assert doctor.first_step().endswith(
        f"type: jupyter lab '--ServerApp.root_dir={tmp_path}/my folder' "
        f"'{tmp_path}/my folder/notebooks/00_start_here.ipynb'"
    )


def test_without_jupyterlab_an_editor_is_told_which_python_to_take(
    without_a_clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "version_of", lambda name, missing="": missing)

    said = doctor.opening(Path("course/notebooks/00_start_here.ipynb"))

    assert doctor.sys.executable in said
    assert "jupyter lab " not in said


@pytest.mark.parametrize(("system", "cure"), [("linux", "make setup"), ("darwin", "on Colab")])
def test_a_missing_triton_is_had_where_triton_has_packages(
    monkeypatch: pytest.MonkeyPatch, system: str, cure: str
) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.sys, "platform", system)

    assert cure in doctor.check_triton().remedy


def test_a_home_that_cannot_be_found_is_broken_progress_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOE_TEACH_HOME", "~no-such-user/here")

    finding = doctor.check_progress()

    assert finding.verdict == "broken"
    assert "MOE_TEACH_HOME" in finding.remedy
