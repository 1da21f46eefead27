"""A regrade looks again at what is judged differently now, and at nothing else."""

import shutil
from pathlib import Path

import pytest

import moe_teach
from moe_teach.course.grading.fingerprint import fingerprint, fingerprint_in

HERE = Path(str(moe_teach.__file__)).parents[1]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for room in ("judging", "chapters/ch00_start_here", "chapters/ch09_triton_dispatch"):
        folder = Path("moe_teach") / room
        shutil.copytree(HERE / folder, tmp_path / folder)
    return tmp_path


def changed_by(root: Path, file: str, *exercises: str) -> list[bool]:
    before = [fingerprint_in(root, one) for one in exercises]
    path = root / "moe_teach" / file
    path.write_text(path.read_text() + "\nANOTHER = 1\n")
    return [fingerprint_in(root, one) != old for one, old in zip(exercises, before, strict=True)]


def test_the_same_sources_elsewhere_have_the_same_digits(copied: Path) -> None:
    assert fingerprint_in(copied, "0.2") == fingerprint("0.2")


@pytest.mark.parametrize("part", ["engine", "compare", "calling", "guard", "raised"])
def test_what_runs_every_check_counts_for_every_exercise(copied: Path, part: str) -> None:
    assert changed_by(copied, f"judging/{part}.py", "0.1", "0.2", "9.1") == [True, True, True]


def test_what_launches_kernels_counts_for_exercises_with_kernels(copied: Path) -> None:
    assert changed_by(copied, "judging/launching.py", "0.2", "9.1") == [False, True]


def test_a_check_counts_for_its_own_exercise(copied: Path) -> None:
    own = "chapters/ch00_start_here/active_fraction.py"

    assert changed_by(copied, own, "0.1", "0.2", "9.1") == [False, True, False]


def test_what_several_checks_of_a_chapter_share_counts_for_those(copied: Path) -> None:
    shared = "chapters/ch09_triton_dispatch/mixtures.py"

    assert changed_by(copied, shared, "9.1", "9.5") == [False, True]
