"""A saved notebook is checked as Jupyter would, again when it is saved, and without a traceback."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from moe_teach.cli import main
from moe_teach.course.learner import progress_file, saved, watching
from moe_teach.course.learner.typed import as_typed

ROOT = Path(__file__).parents[2]
RIGHT = (
    "def route_by_rule(tokens):\n"
    "    return [0 if t.isdigit() else 2 if any(c.isalnum() for c in t) else 1 for t in tokens]"
)
SET_UP = "from moe_teach.course import check"


def cell(source: str, role: str = "", exercise: str = "") -> dict:
    mine = {"moe_teach": {"role": role, "exercise": exercise}} if role else {}
    return {"cell_type": "code", "source": source, "metadata": mine, "outputs": []}


def answer(source: str, item_id: str = "0.1", name: str = "route_by_rule") -> list[dict]:
    return [
        cell(source, "solution", item_id),
        cell(f'check("{item_id}", {name})', "check", item_id),
    ]


def write(file: Path, *cells: dict) -> Path:
    file.write_text(json.dumps({"cells": [cell(SET_UP, "setup"), *cells]}))
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "exercises.ipynb"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("", "is not a notebook that can be read"),
        ('{"cells": 3}', "is not a notebook that can be read"),
        ("[]", "is not a notebook that can be read"),
        ('{"cells": [{"cell_type": "code"}]}', "is not a notebook that can be read"),
        ('{"cells": []}', "holds no check of the course"),
        (b"\xff\xfe\x00", "is not a notebook that can be read"),
    ],
    ids=["missing", "empty", "no list", "no object", "no source", "no cells", "no text"],
)
def test_a_broken_notebook_is_one_sentence(file, capsys, content, said):
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for verb in ("check", "watch"):
        assert main([verb, str(file)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"moe-teach: {file} ")
        assert said in line


def test_a_folder_is_no_notebook(tmp_path, capsys):
    (tmp_path / "a.ipynb").mkdir()
    assert main(["check", str(tmp_path / "a.ipynb")]) == 2
    assert "Name a notebook file." in capsys.readouterr().err


def test_files_and_ids_are_not_mixed(file, capsys):
    assert main(["check", str(file), "0.1"]) == 2
    assert "not both" in capsys.readouterr().err


def test_of_a_lesson_only_the_questions_run(file):
    write(file, cell("train_for_minutes()"), cell('check("0.q1", 12)'))
    assert [c.checks for c in saved.read(file)] == [("0.q1",)]


def test_cells_that_only_play_with_answers_do_not_run(file):
    write(file, *answer(RIGHT), cell("plot(route_by_rule)", "play"))
    assert [c.source for c in saved.read(file)] == [
        SET_UP,
        RIGHT,
        'check("0.1", route_by_rule)',
    ]


def test_every_exercise_of_the_course_is_found_in_its_notebook():
    from moe_teach.course import registry

    for chapter, slug in registry.chapters().items():
        found = saved.fingerprints(saved.read(ROOT / "exercises" / f"{slug}.ipynb"))
        wanted = [i for i in registry.load(chapter) if ".q" not in i]
        assert [i for i in found if ".q" not in i] == wanted


def test_an_answer_depends_on_its_own_cells_and_on_those_of_nobody(file):
    def prints(helper: str, one: str, two: str) -> dict[str, str]:
        write(file, cell(helper), *answer(one), *answer(two, "0.2", "active_fraction"))
        return saved.fingerprints(saved.read(file))

    before = prints("import math", RIGHT, "stub")
    assert prints("import math", RIGHT, "other")["0.1"] == before["0.1"]
    assert prints("import math", RIGHT, "other")["0.2"] != before["0.2"]
    helper_changed = prints("import torch", RIGHT, "stub")
    assert not set(helper_changed.values()) & set(before.values())


def test_a_fresh_process_judges_each_answer_and_counts_it_once(file, capfd):
    write(
        file,
        cell("%matplotlib_of_nobody\nprint('noise')"),
        *answer(RIGHT),
        cell("1 / 0"),
        *answer("def active_fraction(*_):\n    return -1.0", "0.2", "active_fraction"),
        cell('check("0.3", never_defined)', "check", "0.3"),
    )
    assert main(["check", str(file)]) == 1
    said = capfd.readouterr().out
    assert "0.1 A router made of rules: passed" in said
    assert "0.2 How much of a model is active?: wrong" in said
    assert "Code cell 5 stopped: ZeroDivisionError: division by zero" in said
    assert "0.3: not judged: NameError: name 'never_defined' is not defined" in said
    assert "Traceback" not in said
    assert "noise" not in said
    done = progress_file.read()
    assert done.of("0.1").state == "passed"
    assert (done.of("0.1").attempts, done.of("0.2").attempts) == (1, 1)


class Process:
    """Stands for a process that runs until it is killed."""

    def __init__(self) -> None:
        self.is_killed = False

    def poll(self) -> int | None:
        return -9 if self.is_killed else None

    def kill(self) -> None:
        self.is_killed = True

    def wait(self) -> None:
        assert self.is_killed


@pytest.fixture
def watched():
    """Give a watch that starts nothing, with what it would start and what it says."""
    begun, said = [], []

    def begin(file: Path, ids: list[str]) -> Process:
        begun.append(ids)
        return Process()

    return watching.Watch(begin, said.append), begun, said


def save(file: Path, *cells: dict) -> None:
    """Save with another stamp, however coarse the clock of the disk is."""
    before = watching.stamp_of(file)
    write(file, *cells)
    later = (before[0] if before else 0) + 10**9
    os.utime(file, ns=(later, later))


def test_a_watch_checks_what_changed_and_only_that(file, watched):
    watch, begun, said = watched
    other = answer("stub", "0.2", "active_fraction")
    save(file, *answer("stub"), *other)
    watch.look([file])
    watch.look([file])
    save(file, *answer(RIGHT), *other)
    watch.look([file])
    assert begun == [["0.1", "0.2"], ["0.1"]]
    save(file, *answer(RIGHT), *other)
    watch.look([file])
    assert len(begun) == 2
    assert said[-1].endswith("was saved; no answer in it has changed.")


def test_a_save_ends_the_check_of_what_it_replaced(file, watched):
    watch, _, _ = watched
    save(file, *answer("while True: pass"))
    watch.look([file])
    first = watch.running
    save(file, *answer(RIGHT))
    watch.look([file])
    assert first.is_killed
    assert not watch.running.is_killed


def test_a_notebook_that_is_half_saved_or_gone_is_said_once_and_waited_for(file, watched):
    watch, begun, said = watched
    file.write_text('{"cells": [')
    watch.look([file])
    watch.look([file])
    file.unlink()
    watch.look([file])
    watch.look([file])
    save(file, *answer(RIGHT))
    watch.look([file])
    assert [line.split(".ipynb ")[1].split()[:2] for line in said[:2]] == [["is", "not"]] * 2
    assert "half saved" in said[0] and "comes back" in said[1]
    assert begun == [["0.1"]]


def test_what_was_there_before_a_watch_of_all_notebooks_began_is_not_checked(file, watched):
    watch, begun, _ = watched
    save(file, *answer(RIGHT))
    watch.get_to_know([file])
    watch.look([file])
    assert begun == []


def test_watching_without_notebooks_says_how_to_get_some(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["watch"]) == 2
    assert "moe-teach start FOLDER" in capsys.readouterr().err


def test_ctrl_c_ends_a_watch_without_a_word_of_python(file):
    write(file, *answer("def route_by_rule(tokens):\n    raise NotImplementedError"))
    command = [sys.executable, "-u", "-m", "moe_teach.cli", "watch", str(file)]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    lines = [running.stdout.readline(), running.stdout.readline()]
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert lines[0] == f"Watching {file}. Ctrl-C ends it.\n"
    assert lines[1].endswith("exercises.ipynb: 0.1\n")
    assert said.strip().endswith("No longer watching.")
    assert "Traceback" not in said
    assert running.returncode == 0


NO_VERB = '`mine("0.1")`, `check("0.1", f)`, hint("0.1")'


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("", ""),
        ('`hint("0.2", 2)`', "`moe-teach hint 0.2 2`"),
        ('`hint("3.q1")`', "`moe-teach hint 3.q1`"),
        ('`solution("10.1")`; `progress(3)`', "`moe-teach solution 10.1`; `moe-teach progress 3`"),
        ("`progress()`", "`moe-teach progress`"),
        (NO_VERB, NO_VERB),
    ],
)
def test_calls_become_commands_in_a_terminal(said, typed):
    assert as_typed(said) == typed
