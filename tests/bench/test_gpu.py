"""The command for a GPU finds out what it can, keeps what it found, and survives its steps."""

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from functools import partial
from importlib import import_module
from pathlib import Path

import psutil
import pytest

from moe_teach.bench.gpu import cli
from moe_teach.bench.gpu.plan import groups, left_out, still_due
from moe_teach.bench.gpu.record import FILE, Record, demand_same, read
from moe_teach.bench.gpu.session import Session
from moe_teach.bench.gpu.step import Step
from moe_teach.bench.gpu.supervisor import Worker

# A step set of the tests: what a GPU can do to a process, in fractions of a second.
FAKES = '''
import os, signal, time
from pathlib import Path
from moe_teach.bench.gpu.step import Step

class OutOfMemoryError(RuntimeError):
    """As torch's, which takes long to import."""

CHECKED = {"operation": "combine", "dtype": "bfloat16", "of": "output", "shape": "T=1",
           "routing": "balanced", "allowed": 0.03}
TIMED = {"model": "Qwen3", "shape": {"n_tokens": 1}, "routing": "balanced", "step": "decode",
         "contender": "ours", "ratio": 2.0, "bandwidth_share": 0.5, "peak_bytes": 0}

class Short(Step):
    limit_s = 0.4

def ran(name):
    with Path(os.environ["RAN"]).open("a") as log:
        log.write(name + "\\n")

def right():
    ran("right")
    print("a library talks")
    yield {**CHECKED, "error": 0.0, "verdict": "right"}

def wrong():
    yield {**CHECKED, "error": float("nan"), "verdict": "wrong"}
    yield {**CHECKED, "error": 0.0, "verdict": "right"}

def raises():
    yield {**TIMED, "seconds": 1.0}
    raise ValueError("no such instruction\\nand a long trace")

def too_large():
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 90 GiB")
    yield

def dies():
    print("my last words")
    yield {**TIMED, "seconds": 2.0}
    os.kill(os.getpid(), signal.SIGSEGV)
    yield

def poisons():
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
    yield

def hangs():
    yield {**TIMED, "seconds": 3.0}
    time.sleep(60)

def nobody():
    yield {**TIMED, "problem": "nobody is there"}

def waits():
    ran("waits")
    yield {**TIMED, "seconds": 4.0, "process": os.getpid()}
    if not Path(os.environ["GO"]).exists():
        time.sleep(60)

def meets(mine, other):
    folder = Path(os.environ["PAIR"])
    (folder / mine).touch()
    until = time.monotonic() + 20
    while not (folder / other).exists():
        assert time.monotonic() < until, "nobody came"
        time.sleep(0.01)
    yield {**CHECKED, "error": 0.0, "verdict": "right"}

def needs_room():
    flag = Path(os.environ["PAIR"]) / "tried"
    if not flag.exists():
        flag.touch()
        raise OutOfMemoryError("CUDA out of memory")
    yield {**CHECKED, "error": 0.0, "verdict": "right"}

def steps(toy):
    if "PAIR" in os.environ:
        return [
            Step("one", "correct", 0.1, lambda: meets("one", "other"), together=True),
            Step("other", "correct", 0.1, lambda: meets("other", "one"), together=True),
            Step("large", "correct", 0.1, needs_room, together=True),
        ]
    if "GO" in os.environ:
        return [
            Step("right", "correct", 0.1, right),
            Step("waits", "kernels", 0.1, waits),
        ]
    return [
        Step("right", "correct", 0.1, right),
        Step("wrong", "correct", 0.1, wrong),
        Step("raises", "kernels", 0.1, raises),
        Step("too large", "kernels", 0.1, too_large),
        Step("dies", "kernels", 0.1, dies),
        Step("poisons", "kernels", 0.1, poisons),
        Short("hangs", "kernels", 0.1, hangs),
        Step("nobody", "kernels", 0.1, nobody),
        Step("long", "kernels", 600.0, right),
        Step("absent", "rivals", 0.1, right, package="no_such_package"),
    ]
'''


def run_fakes(folder: Path) -> int:
    options = Namespace(out=folder / "out", minutes=1.0, toy=True)
    return cli.measure(read(options.out), options, "fake_steps")


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    """A folder with the step set, where both sides can import it."""
    folder = tmp_path_factory.mktemp("fakes")
    (folder / "fake_steps.py").write_text(FAKES)
    paths = os.pathsep.join([str(folder), str(Path(cli.__file__).parents[3])])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", paths)
        patch.setenv("RAN", str(folder / "ran.txt"))
        yield folder
    sys.modules.pop("fake_steps", None)


@pytest.fixture(scope="module")
def survived(fakes) -> tuple[int, Record]:
    return run_fakes(fakes), read(fakes / "out")


def test_every_way_to_end_is_a_verdict_and_stops_nobody_else(survived):
    _, record = survived

    assert {done.name: done.verdict for done in record.steps} == {
        "right": "passed",
        "wrong": "failed",
        "raises": "failed",
        "too large": "out of memory",
        "dies": "crashed",
        "poisons": "crashed",
        "hangs": "out of time",
        "nobody": "failed",
    }


def test_a_problem_is_said_in_one_line(survived):
    problems = {done.name: done.problem for done in survived[1].steps}

    assert problems["wrong"] == "1 of 2 comparisons are wrong."
    assert problems["raises"] == "ValueError: no such instruction"
    assert problems["dies"] == "it was killed by SIGSEGV, and its last words were: my last words"
    assert "illegal memory access" in problems["poisons"]
    assert problems["hangs"] == "It had not ended after 0 s."
    assert problems["nobody"] == "Nobody could be measured: nobody is there"


def test_what_was_found_before_a_crash_is_kept(survived):
    rows = {done.name: done.rows for done in survived[1].steps}

    assert [row["seconds"] for row in rows["dies"]] == [2.0]
    assert [row["seconds"] for row in rows["hangs"]] == [3.0]
    assert rows["wrong"][0]["error"] == "nan"  # JSON has no word for it


def test_a_wrong_kernel_shows_in_the_exit_status(survived):
    assert survived[0] == 1


def test_what_was_left_out_says_why(survived):
    reasons = {item["name"]: item["reason"] for item in survived[1].left_out}

    assert set(reasons) == {"long", "absent"}
    assert reasons["long"].startswith("It takes about 600 s, and ")
    assert reasons["absent"] == "The package 'no_such_package' is not installed."


def test_a_second_start_repeats_nothing_that_is_settled(survived, fakes):
    before = (fakes / "ran.txt").read_text()

    assert run_fakes(fakes) == 1
    assert (fakes / "ran.txt").read_text() == before
    again = read(fakes / "out")
    assert len(again.runs) == 2
    assert {done.run for done in again.steps} == {0}


def test_a_kill_costs_one_step_and_leaves_no_worker_behind(fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    monkeypatch.setenv("RAN", str(tmp_path / "ran.txt"))
    script = (
        "from argparse import Namespace; from pathlib import Path; import sys;"
        "from moe_teach.bench.gpu import cli; from moe_teach.bench.gpu.record import Record;"
        "cli.measure(Record(), Namespace(out=Path(sys.argv[1]), minutes=1.0, toy=True),"
        "'fake_steps')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not (known := read(tmp_path / "out").of("waits")) or not known.rows:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)

    cut = read(tmp_path / "out")
    assert {done.name: done.verdict for done in cut.steps} == {"right": "passed", "waits": "cut"}
    while is_alive(cut.of("waits").rows[0]["process"]):
        assert time.monotonic() < until
        time.sleep(0.02)

    (tmp_path / "go").touch()
    assert run_fakes(tmp_path) == 0
    whole = read(tmp_path / "out")
    assert {done.name: done.verdict for done in whole.steps} == {
        "right": "passed",
        "waits": "measured",
    }
    assert (tmp_path / "ran.txt").read_text().split() == ["right", "waits", "waits"]
    assert (whole.of("waits").attempts, len(whole.of("waits").rows)) == (2, 1)


def test_checks_run_side_by_side_and_who_lacks_memory_gets_it_alone(fakes, tmp_path, monkeypatch):
    monkeypatch.setenv("PAIR", str(tmp_path))
    record = Record()
    new_worker = partial(Worker, "fake_steps", True)
    session = Session(record, tmp_path / "out", 1.0, new_worker, side_by_side=2)
    session.open({}, lambda device: {})

    session.perform(import_module("fake_steps").steps(True))

    assert {done.name: done.verdict for done in record.steps} == {
        "one": "passed",
        "other": "passed",
        "large": "passed",
    }
    assert record.of("large").attempts == 2
    assert [worker.process for worker in session.workers] == [None] * 3


def is_alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def a_step(name: str, seconds: float = 1.0, **options) -> Step:
    return Step(name, "kernels", seconds, lambda: iter(()), **options)


def test_a_step_that_was_cut_twice_is_not_tried_for_ever():
    record, step = Record(), a_step("deadly")
    for expected in (1, 2):
        assert still_due([step], record) == [step]
        assert record.begin(step).attempts == expected

    assert still_due([step], record) == []
    assert record.of("deadly").verdict == "cut"


def test_preparing_is_repeated_while_something_else_is_due_and_not_alone():
    record = Record()
    ready, timed = a_step("ready", lasts=False, together=True), a_step("timed")
    for step in (ready, timed):
        record.begin(step).verdict = "measured"

    assert still_due([ready, timed], record) == []
    assert still_due([ready, timed, a_step("more")], record)[0] is ready


def test_only_neighbours_run_side_by_side():
    a, b, c = (a_step(name, together=name != "b") for name in "abc")

    assert list(groups([a, b, c])) == [[a], [b], [c]]
    assert list(groups([a, c, b])) == [[a, c], [b]]


def test_a_short_step_is_not_left_out_because_a_long_one_does_not_fit():
    said = left_out([a_step("long", 30.0), a_step("short", 2.0)], Record(), 5.0)

    assert said[0]["reason"] == "It takes about 30 s, and 5 s were left."
    assert said[1]["reason"] == "It was not reached."


def test_a_record_of_another_device_is_not_mixed_with_this_one():
    record = Record(subject={"device": "an H100", "torch": "2.13.0"})

    demand_same(record, {"device": "an H100", "torch": "2.13.0"})
    with pytest.raises(ValueError, match=r"device was an H100 and is an H200.*--anew"):
        demand_same(record, {"device": "an H200", "torch": "2.13.0"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not a record"),
        ("[]", "is not a record"),
        ('{"schema": "moe-teach bench gpu", "format": 99}', "in the format 99"),
        ('{"schema": "moe-teach bench gpu", "format": 1, "steps": [{}]}', "is not a record"),
    ],
)
def test_a_file_that_is_no_record_is_refused_in_a_sentence(tmp_path, capsys, text, sentence):
    (tmp_path / FILE).write_text(text)

    assert cli.main(["--out", str(tmp_path), "--toy"]) == 2
    assert sentence in capsys.readouterr().err
    assert (tmp_path / FILE).read_text() == text


def test_where_there_is_no_gpu_the_command_says_so_and_writes_nothing(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cli.torch.cuda, "is_available", lambda: False)

    assert cli.main(["--out", str(tmp_path / "out")]) == 2
    assert "there is no GPU here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_worker_that_does_not_start_is_a_fault_in_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli.sys, "executable", "/bin/false")

    assert cli.main(["--out", str(tmp_path), "--toy"]) == 3
    assert "does not start: it ended with status 1" in capsys.readouterr().err


def test_the_page_names_what_is_wrong_what_is_missing_and_where(survived, fakes, tmp_path):
    page = tmp_path / "page.md"

    assert cli.main(["--out", str(fakes / "out"), "--page", str(page)]) == 0
    text = page.read_text()
    assert "These are not GPU numbers" in text
    assert "| dies | crashed |" in text
    assert "| combine | bfloat16 | 3 | 1 | nan |" in text
    assert "| Qwen3 | 1 | balanced | decode | ours | 2000.000 | 50.0 | 50.0 |" in text
    assert "not measured: nobody is there" in text
    assert "- absent: The package 'no_such_package' is not installed." in text
    assert cli.main(["--out", str(tmp_path / "empty"), "--page", str(page)]) == 2


def test_the_record_is_plain_json_with_its_names(survived, fakes):
    content = json.loads((fakes / "out" / FILE).read_text())

    assert (content["schema"], content["format"]) == ("moe-teach bench gpu", 1)
    assert set(content) == {
        "schema", "format", "subject", "device", "machine", "runs", "steps", "left_out",
    }  # fmt: skip
    assert content["runs"][0]["command"] == "moe-teach bench gpu --minutes 1 --toy"
