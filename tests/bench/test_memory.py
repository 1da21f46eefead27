"""The race in little memory, with a shape that takes seconds: files, limit, engines, tables."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("gguf", reason="the extra `deploy` brings gguf")
pytest.importorskip("xllamacpp", reason="llama.cpp comes as the wheel xllamacpp, on Linux only")

from moe_teach.bench.llama_cpp import LlamaCpp
from moe_teach.bench.memory import cli, limit, race
from moe_teach.bench.memory.checkpoint import GGUF, HF, lean_towards_favourites, make
from moe_teach.bench.memory.cli import OLMOE, QUICK, budget_within
from moe_teach.bench.memory.limit import DATA_ONLY, memory_limit
from moe_teach.bench.memory.race import Lap
from moe_teach.bench.memory.worker import Job, Report, read_bandwidth, theirs
from moe_teach.checkpoint.hf_import import import_hf
from moe_teach.deploy.store.opening import opened_within
from moe_teach.deploy.store.policies import LRU
from moe_teach.deploy.store.trace import record_trace

TEXT = torch.tensor([3, 141, 59, 26, 500])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("race")
    make(path, QUICK)
    return path


@pytest.mark.parametrize("skew", [0.0, 2.0])
def test_both_files_hold_one_model_with_favourites_or_without(folder, skew):
    lean_towards_favourites(folder, QUICK, skew)
    model = import_hf(folder / HF, torch.float32).model
    with torch.no_grad():
        ours = model(TEXT[None]).logits[0, -1].double().log_softmax(-1)
    theirs = LlamaCpp(folder / GGUF).log_probs(TEXT.tolist())
    # llama.cpp multiplies bfloat16 weights by activations that it rounds to bfloat16.
    assert float((ours - theirs).abs().max()) < 0.1
    assert float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1]) > 0.999


def test_favourites_come_and_go_with_the_skew(folder):
    text = torch.randint(512, (400,), generator=torch.Generator().manual_seed(0))
    loads = []
    for skew in (0.0, 2.0, 0.0):
        lean_towards_favourites(folder, QUICK, skew)
        loads.append(record_trace(import_hf(folder / HF, torch.float32).model, text).load())
    assert float(loads[1].max()) > 2 * float(loads[0].max())
    assert torch.equal(loads[0], loads[2])


def test_what_is_there_is_not_made_again(folder):
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    make(folder, QUICK)
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20_000_000_000))
    with pytest.raises(ValueError, match=r"take 27.7 GB, .* has 20.0 GB free"):
        make(tmp_path / "big", OLMOE)
    assert list((tmp_path / "big").iterdir()) == []


HOG = (
    "import sys; n = int(sys.argv[1]); data = bytearray(n); "
    "data[::4096] = b'x' * len(data[::4096]); print('alive')"
)


def test_a_process_that_takes_more_than_its_limit_does_not_live():
    with memory_limit(200_000_000) as given:
        run = [*given.prefix, sys.executable, "-c", HOG]
        small = subprocess.run([*run, "50000000"], capture_output=True, text=True, check=False)
        large = subprocess.run([*run, "400000000"], capture_output=True, text=True, check=False)
    assert small.stdout == "alive\n"
    assert large.returncode != 0
    assert large.stdout == ""


def test_without_groups_a_process_is_held_to_its_own_data(monkeypatch):
    monkeypatch.setattr(limit, "_own_groups", dict)
    monkeypatch.setattr(limit, "_systemd_scope", lambda _: None)
    with memory_limit(200_000_000) as given:
        assert given.how == DATA_ONLY
        run = [*given.prefix, sys.executable, "-c", HOG]
        small = subprocess.run([*run, "50000000"], capture_output=True, text=True, check=False)
        large = subprocess.run([*run, "400000000"], capture_output=True, text=True, check=False)
    assert small.stdout == "alive\n"
    assert "MemoryError" in large.stderr


@pytest.fixture(params=["v1", "v2"])
def groups(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """Lay out the files of control groups as the system does, in a folder."""
    own = tmp_path / ("memory/user" if request.param == "v1" else "user")
    own.mkdir(parents=True)
    line = "4:memory:/user" if request.param == "v1" else "0::/user"
    (tmp_path / "own").write_text(f"9:name=systemd:/\n{line}\n")
    if request.param == "v2":
        (tmp_path / "cgroup.controllers").write_text("memory")
    monkeypatch.setattr(limit, "ROOT", tmp_path)
    monkeypatch.setattr(limit, "OWN", tmp_path / "own")
    yield own


def test_a_group_of_either_version_is_made_and_removed(groups, monkeypatch):
    kept: list[str] = []

    def remove(folder: Path) -> None:  # files of a real group go with it
        for file in folder.iterdir():
            kept.append(f"{file.name}={file.read_text()}")
            file.unlink()
        really(folder)

    really = Path.rmdir
    monkeypatch.setattr(Path, "rmdir", remove)
    with memory_limit(123) as given:
        (made,) = groups.iterdir()
        assert str(made / "cgroup.procs") in given.prefix[2]
        assert "page cache included" in given.how
    assert kept in (["memory.limit_in_bytes=123"], ["memory.max=123"])
    assert list(groups.iterdir()) == []


def test_the_peak_is_that_of_the_group(groups):
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        (groups / name).write_text("4567\n")
    assert limit.peak_bytes() == 4567


def test_the_command_prints_both_engines_and_leaves_nothing(folder, tmp_path, capsys, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "race")
    arguments = ["--folder", str(copy), "--shape", "quick", "--limit", "1e9", "--tokens", "2"]
    assert cli.main([*arguments, "--skew", "0", "--threads", "1", "--foresight", "1"]) == 0
    out = capsys.readouterr().out
    assert "even     moe_teach  LFRU" in out
    assert "even     llama.cpp  page cache" in out
    assert not copy.exists()


def test_a_limit_without_room_for_experts_is_refused(tmp_path, capsys):
    arguments = ["--folder", str(tmp_path / "none"), "--shape", "quick", "--limit", "1e8"]
    assert cli.main(arguments) == 2
    assert "no room for experts: give at least 0.65 GB" in capsys.readouterr().err
    assert budget_within(OLMOE, 4e9) > 2e9


def test_a_killed_engine_is_a_line_and_no_number(folder):
    job = Job(engine="moe_teach", folder=str(folder), budget_bytes=10_000_000, n_tokens=1)
    (lap,) = race.race([job], 30_000_000)
    assert lap.report is None
    assert "exit status" in lap.said
    assert cli.cells(lap, 0.6)[0] == "skew 0.6"
    assert lap.limit_seconds is lap.hit_rate is None


def test_the_least_time_is_bytes_over_bandwidth():
    job = Job(engine="moe_teach", folder="", budget_bytes=0, n_tokens=4)
    moved = {"hits": 6, "misses": 2, "waited_bytes": 300, "guessed_bytes": 100}
    report = Report(
        seconds_per_token=1.0,
        cpu_seconds_per_token=0.5,
        peak_bytes=1,
        moved=moved,
        bytes_per_s=(150.0, 250.0),
    )
    lap = Lap(job, "", report)
    assert lap.limit_seconds == 400 / 4 / 200
    assert lap.hit_rate == 0.75
    assert cli.cells(lap, 0.0)[7] == "0.50"


def test_the_disk_is_measured_with_the_reads_of_the_store(folder):
    with opened_within(folder / HF, 10_000_000, LRU()) as (_, store):
        assert read_bandwidth(store, seed=0, n_bytes=1_000_000) > 0
        assert store.counts.moved_bytes == 0
        assert not store.cache.residents


def test_llama_cpp_is_timed_by_its_own_clock(folder):
    job = Job(engine="llama.cpp", folder=str(folder), budget_bytes=0, n_tokens=2, warm_up=1)
    assert theirs(replace(job, n_threads=1)).seconds_per_token > 0
