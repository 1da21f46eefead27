"""Setting up takes no gigabytes that nobody asked for, and says what it is doing."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "tools/set_up.py"
SPEC = importlib.util.spec_from_file_location("set_up", PATH)
set_up = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(set_up)

OFFERED = """torch (2.15.0)
Available versions: 2.15.0, 2.14.1, 2.13.0+cpu, 2.13.0, 2.12.1
  INSTALLED: 2.13.0+cpu
"""


@pytest.mark.parametrize(
    ("asked", "platform", "has_card", "build"),
    [
        ("auto", "linux", False, "cpu"),
        ("auto", "linux", True, "cuda"),
        ("cpu", "linux", True, "cpu"),
        ("cuda", "linux", False, "cuda"),
        ("auto", "darwin", False, "plain"),
        ("auto", "win32", False, "plain"),
    ],
)
def test_gigabytes_of_cuda_come_only_to_a_card_or_when_asked_for(asked, platform, has_card, build):
    assert set_up.which_build(asked, platform, has_card, is_here=False) == build
    assert set_up.which_build(asked, platform, has_card, is_here=True) == "here"


@pytest.mark.parametrize(
    ("offered", "pin", "build"),
    [
        (OFFERED, "2.13.0", "2.13.0+cpu"),
        (OFFERED, "2.12.1", None),
        (OFFERED, None, None),  # the newest is wanted, and is there for CUDA only
        (OFFERED.replace("2.15.0, ", "2.15.0+cpu, 2.15.0, "), None, "2.15.0+cpu"),
        ("", "2.13.0", None),
        ("", None, None),
    ],
)
def test_the_build_for_cpus_is_taken_from_pip_where_pip_has_it(offered, pin, build):
    assert set_up.cpu_build_among(offered, pin) == build


def test_the_wanted_torch_is_read_from_the_pins():
    assert set_up.pinned("numpy==2.0\ntorch==2.13.0 ; sys_platform == 'linux'\n") == "2.13.0"
    assert set_up.pinned("torchvision==1.0\n") is None


def test_a_torch_of_another_version_does_not_count_as_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(set_up, "version", lambda name: "2.13.0+cpu")
    assert set_up.is_here("2.13.0")
    assert set_up.is_here(None)
    assert not set_up.is_here("2.14.0")


def installing(monkeypatch: pytest.MonkeyPatch, refused: str = "nothing") -> list[str]:
    """Write down what would be run on a Linux machine without torch; what is `refused` fails."""
    commands: list[str] = []

    def works(*command: str) -> bool:
        commands.append(" ".join(command))
        return refused not in commands[-1]

    monkeypatch.setattr(set_up, "works", works)
    monkeypatch.setattr(set_up, "which_build", lambda *facts: "cpu")
    nothing = subprocess.CompletedProcess([], 1, stdout="")
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: nothing)
    monkeypatch.chdir(PATH.parents[1])
    return commands


def test_without_a_source_of_pips_own_uv_fetches_the_pinned_build_for_cpus(monkeypatch, capsys):
    commands = installing(monkeypatch)

    assert set_up.main(["-c", "constraints.txt"]) == 0

    (torch,) = (line for line in commands if "--torch-backend" in line)
    assert (
        f"--torch-backend cpu torch=={set_up.pinned(Path('constraints.txt').read_text())}" in torch
    )
    assert all("-c constraints.txt" in line for line in commands)
    assert [line[:4] for line in capsys.readouterr().out.splitlines()] == ["Step", "Step", "Ever"]


def test_a_build_for_cpus_that_cannot_be_had_ends_in_three_ways_on(monkeypatch, capsys):
    commands = installing(monkeypatch, refused="--torch-backend")

    assert set_up.main([]) == 1

    assert not any("--editable" in line for line in commands), "that would fetch the CUDA build"
    assert "make TORCH=cuda lab" in capsys.readouterr().out


def test_where_uv_cannot_reach_the_packages_pip_tries(monkeypatch):
    commands = installing(monkeypatch, refused="uv pip install --python")
    monkeypatch.setattr(set_up, "which_build", lambda *facts: "here")

    assert set_up.main([]) == 0

    assert "-m pip" in commands[-1]
    assert "--editable .[dev]" in commands[-1]


def test_jupyterlab_asks_nobody_for_news_and_keeps_settings_that_are_there(tmp_path: Path):
    set_up.quieten_jupyterlab(tmp_path)
    (file,) = tmp_path.rglob("overrides.json")
    assert file.relative_to(tmp_path).as_posix() == "share/jupyter/lab/settings/overrides.json"
    told = json.loads(file.read_text())["@jupyterlab/apputils-extension:notification"]
    assert told == {"fetchNews": "false", "checkForUpdates": False}

    file.write_text("{}")
    set_up.quieten_jupyterlab(tmp_path)
    assert file.read_text() == "{}"


def test_progress_is_passed_on_and_all_of_it_when_something_fails(capsys):
    program = "print('Downloading a (1 MB)'); print('Using b'); raise SystemExit({})"

    assert set_up.works(sys.executable, "-c", program.format(0))
    assert capsys.readouterr().out == "  Downloading a (1 MB)\n"

    assert not set_up.works(sys.executable, "-c", program.format(3))
    assert "Using b" in capsys.readouterr().out
