"""The progress file outlives killed kernels, damaged disks and course updates."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from moe_teach.course.learner import progress_file as ledger
from moe_teach.course.learner.progress_file import Progress, Record


def test_what_is_recorded_is_read_again(home):
    ledger.count_attempt("9.1", "wrong", 1, 0.0)
    ledger.open_hint("9.1", 2)
    ledger.open_hint("9.1", 1)
    ledger.open_solution("9.1")
    record = ledger.read().of("9.1")
    assert (record.attempts, record.state, record.hints) == (1, "wrong", (1, 2))
    assert record.solution_opened
    assert ledger.path() == home / "progress.json"


def test_a_pass_is_kept_whatever_comes_later():
    ledger.count_attempt("9.1", "passed", 1, 2.0)
    ledger.count_attempt("9.1", "wrong", 2, 0.0)
    record = ledger.read().of("9.1")
    assert (record.state, record.passed_version, record.points) == ("passed", 1, 2.0)
    assert record.attempts == 2


def test_a_damaged_file_is_set_aside_and_not_lost(home):
    home.mkdir()
    for number, text in enumerate(('{"schema": 1, "exer', "[]", '{"exercises": {"9.1": 5}}'), 1):
        ledger.path().write_text(text)
        assert ledger.read() == Progress()
        assert (home / f"progress-damaged-{number}.json").read_text() == text
        ledger.count_attempt("9.1", "wrong", 1, 0.0)


def test_a_file_of_a_later_course_version_is_still_understood(home):
    home.mkdir()
    entry = {"attempts": 3, "state": "passed", "invented_later": {"a": 1}}
    ledger.path().write_text(json.dumps({"schema": 9, "exercises": {"9.1": entry}}))
    assert ledger.read().of("9.1").attempts == 3


def test_a_pass_recorded_by_its_hash_is_a_pass_of_the_first_version():
    stored = (
        '{"schema": 1, "exercises": {"1.1": {"state": "passed", "passed_version": "9f86d081"}}}'
    )
    assert ledger.from_json(stored).of("1.1").passed_version == 1


def test_two_machines_can_be_merged_and_nothing_is_lost():
    one = Progress({"1.1": Record(attempts=2, state="passed", passed_version=1, hints=(1,))})
    two = Progress({"1.1": Record(attempts=5, state="wrong", hints=(2,)), "1.2": Record(1)})
    merged = one.merged(two)
    assert merged == two.merged(one)
    record = merged.of("1.1")
    assert (record.attempts, record.state, record.hints) == (5, "passed", (1, 2))
    assert merged.of("1.2").attempts == 1


def test_many_writers_do_not_lose_each_others_work():
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: ledger.count_attempt("9.1", "wrong", 1, 0.0), range(40)))
    assert ledger.read().of("9.1").attempts == 40


def test_a_killed_writer_leaves_a_whole_file(home):
    code = (
        "from moe_teach.course.learner import progress_file as p\n"
        "i = 0\n"
        "while True:\n"
        "    i += 1\n"
        "    p.count_attempt(f'9.{i % 50}', 'wrong', 10**400, 0.0)\n"
    )
    for delay in (0.0, 0.013, 0.037):
        writer = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
        before = ledger.path().stat().st_mtime_ns if ledger.path().exists() else 0
        while not ledger.path().exists() or ledger.path().stat().st_mtime_ns == before:
            assert writer.poll() is None
            time.sleep(0.005)
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert ledger.from_json(ledger.path().read_text()).records
    attempts = ledger.read().of("9.1").attempts
    ledger.count_attempt("9.1", "wrong", 1, 0.0)  # the dead writer's lock died with it
    assert ledger.read().of("9.1").attempts == attempts + 1
    assert not list(home.glob("progress-damaged-*"))
