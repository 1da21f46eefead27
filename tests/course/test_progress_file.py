"""The progress file outlives killed kernels, damaged disks and course updates."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import filelock
import pytest

from moe_teach import files
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


def test_fields_that_a_later_course_added_are_ignored(home):
    home.mkdir()
    entry = {"attempts": 3, "state": "passed", "invented_later": {"a": 1}}
    ledger.path().write_text(json.dumps({"schema": 1, "exercises": {"9.1": entry}}))
    assert ledger.read().of("9.1").attempts == 3


def test_a_file_of_a_newer_course_is_refused_in_words_and_left_as_it_is(home):
    home.mkdir()
    text = json.dumps({"schema": 2, "people": {}})
    ledger.path().write_text(text)
    for action in (ledger.read, lambda: ledger.open_hint("9.1", 1), lambda: ledger.forget("9.1")):
        with pytest.raises(OSError, match="newer version of the course"):
            action()
    assert ledger.path().read_text() == text
    assert not list(home.glob("progress-damaged-*"))


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_a_file_that_an_editor_saved_in_another_encoding_is_understood(home, coding):
    home.mkdir()
    ledger.path().write_bytes('{"exercises": {"9.1": {"attempts": 3}}}'.encode(coding))
    assert ledger.read().of("9.1").attempts == 3


@pytest.mark.parametrize(
    "content",
    [
        b'{"exercises": {"\xe9": {}}}',
        bytes(range(256)),
        b"",
        b"{}",
        b"null",
        b"7",
        b'{"schema": 0, "records": {}}',
        b'{"schema": "one", "exercises": {}}',
        b'{"exercises": [1]}',
        b'{"exercises": {"9.1": {"hints": 3}}}',
        b'{"exercises": {"9.1": {"attempts": null}}}',
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_whatever_else_stands_there_is_set_aside_whole(home, content):
    home.mkdir()
    ledger.path().write_bytes(content)
    assert ledger.read() == Progress()
    assert (home / "progress-damaged-1.json").read_bytes() == content
    assert ledger.count_attempt("9.1", "wrong", 1, 0.0).attempts == 1


def test_two_kernels_that_meet_one_damaged_file_set_it_aside_once(home):
    home.mkdir()
    ledger.path().write_text("half a fi")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ledger.read(), range(16)))
    assert found == [Progress()] * 16
    assert [kept.name for kept in home.glob("progress-damaged-*")] == ["progress-damaged-1.json"]


def test_a_file_that_another_kernel_mended_meanwhile_is_not_set_aside(home, monkeypatch):
    home.mkdir()
    ledger.path().write_text("half a fi")
    taking_turns = ledger.taking_turns

    @contextlib.contextmanager
    def late(name):
        with taking_turns(name):
            ledger.save(Progress({"9.1": Record(attempts=4)}))
            yield

    monkeypatch.setattr(ledger, "taking_turns", late)
    assert ledger.read().of("9.1").attempts == 4
    assert not list(home.glob("progress-damaged-*"))


def test_a_link_is_written_through(home, tmp_path):
    home.mkdir()
    elsewhere = tmp_path / "drive" / "mine.json"
    ledger.path().symlink_to(elsewhere)
    ledger.count_attempt("9.1", "wrong", 1, 0.0)
    assert ledger.path().is_symlink()
    assert ledger.from_json(elsewhere.read_text()).of("9.1").attempts == 1


@pytest.mark.parametrize(
    "problem",
    [OSError(errno.ENOLCK, "no locks"), OSError(errno.EOPNOTSUPP, ""), NotImplementedError()],
)
def test_a_disk_without_locks_keeps_the_record_all_the_same(monkeypatch, problem):
    def refuse(_lock):
        raise problem

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    monkeypatch.setattr(filelock.FileLock, "__enter__", refuse)
    assert ledger.count_attempt("9.1", "wrong", 1, 0.0).attempts == 1


def test_a_lock_that_nobody_gives_back_costs_patience_and_nothing_else(home, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    home.mkdir()
    with filelock.FileLock(home / "progress.lock"):
        assert ledger.count_attempt("9.1", "wrong", 1, 0.0).attempts == 1


def test_failures_in_a_row_are_counted_until_a_pass():
    states = ["wrong", "raised", "passed", "wrong"]
    assert [ledger.count_attempt("9.1", s, 1, 0.0).failures for s in states] == [1, 2, 0, 1]
    assert ledger.read().of("9.1").failures == 1


def test_a_pass_recorded_by_its_hash_is_a_pass_of_the_first_version():
    stored = (
        '{"schema": 1, "exercises": {"1.1": {"state": "passed", "passed_version": "9f86d081"}}}'
    )
    assert ledger.from_json(stored).of("1.1").passed_version == 1


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
