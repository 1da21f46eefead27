"""A pack carries everything and loses nothing, whatever stands on the machine where it arrives."""

import json
import os
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from moe_teach import cli
from moe_teach.course import materials, registry
from moe_teach.course.learner import desk
from moe_teach.course.learner import progress_file as ledger
from moe_teach.course.learner.mine import parts
from moe_teach.course.learner.packing import form
from moe_teach.course.learner.packing.joining import joined, joined_record
from moe_teach.course.learner.packing.packing import pack
from moe_teach.course.learner.packing.unpacking import unpack
from moe_teach.course.learner.progress_file import Progress, Record

ROOT = Path(__file__).parents[2]
NAME = "00_start_here.ipynb"
ANSWER = "def active_fraction(n_shared, n_per_expert, n_experts, top_k):\n    return 1 / 2\n"
OTHER = ANSWER.replace("1 / 2", "1 / 3")


class Machine:
    """A learner's home and the folder they work in."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._patch = root, monkeypatch
        self.folder = root / "work"
        self.folder.mkdir(parents=True)
        self.here()

    def here(self) -> "Machine":
        self._patch.setenv("MOE_TEACH_HOME", str(self.root / "home"))
        self._patch.chdir(self.folder)
        return self

    def notebook(self, answer: str = "", folder: str = ".") -> Path:
        notebook = json.loads((ROOT / "exercises" / NAME).read_text("utf-8"))
        for cell in notebook["cells"]:
            mine = cell["metadata"].get("moe_teach", {})
            if answer and (mine.get("exercise"), mine.get("role")) == ("0.2", "solution"):
                cell["source"] = answer
        file = self.folder / folder / NAME
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(notebook), encoding="utf-8")
        return file

    def passed(self, answer: str = ANSWER) -> Path:
        exercise = registry.find_exercise("0.2")
        parts.publish(exercise, parts.composed(exercise, answer, "active_fraction"))
        ledger.count_attempt("0.2", "passed", exercise.version, 1)
        return parts.file_of(exercise)


@pytest.fixture
def laptop(tmp_path, monkeypatch) -> Machine:
    return Machine(tmp_path / "laptop", monkeypatch)


@pytest.fixture
def desktop(tmp_path, monkeypatch, laptop) -> Machine:
    machine = Machine(tmp_path / "desktop", monkeypatch)
    laptop.here()
    return machine


def test_everything_arrives_on_another_machine(laptop, desktop):
    laptop.notebook(ANSWER)
    part = laptop.passed().read_bytes()
    file, said = pack()
    assert len(said) == 1 and "Packed 1 notebook, 1 of your parts and 1 record" in said[0]
    desktop.here()
    unpack(file)
    assert ledger.read().of("0.2").state == "passed"
    assert parts.file_of(registry.find_exercise("0.2")).read_bytes() == part
    assert (desktop.folder / "exercises" / NAME).read_bytes() == (laptop.folder / NAME).read_bytes()
    before = {p: p.read_bytes() for p in desktop.root.rglob("*") if p.is_file()}
    assert unpack(file)[:-1] == []  # once more: nothing is new
    assert {p: p.read_bytes() for p in desktop.root.rglob("*") if p.is_file()} == before


def test_both_texts_of_a_part_survive_and_the_later_proof_is_used(laptop, desktop):
    old = laptop.passed()
    text = old.read_text().replace('"on": "2', '"on": "1')  # a thousand years ago
    old.write_text(text)
    laptop.notebook(ANSWER)
    file, _ = pack()
    desktop.here()
    new = desktop.passed(OTHER)
    (told,) = [s for s in unpack(file) if "differs" in s]
    assert "the one that was here stays" in told
    assert "1 / 3" in new.read_text()
    assert (new.parent / "earlier" / f"{new.stem}_1.py").read_text() == text
    laptop.here()  # and the other way round
    desktop_pack = pack_of(desktop)
    laptop.here()
    (told,) = [s for s in unpack(desktop_pack) if "the pack is used" in s]
    assert "1 / 3" in old.read_text()
    assert text in [p.read_text() for p in (old.parent / "earlier").iterdir()]


def pack_of(machine: Machine) -> Path:
    machine.here()
    return pack()[0]


def test_a_part_edited_by_hand_is_never_replaced(laptop, desktop):
    laptop.passed()
    file, _ = pack()
    desktop.here()
    own = desktop.passed(OTHER)
    own.write_text(own.read_text() + "\nMINE = 1\n")
    unpack(file)
    assert own.read_text().endswith("MINE = 1\n")
    assert any("1 / 2" in p.read_text() for p in (own.parent / "earlier").iterdir())


def test_a_notebook_with_answers_stays_and_the_arriving_one_lies_beside_it(laptop, desktop):
    laptop.notebook(ANSWER)
    file, _ = pack([0])
    desktop.here()
    own = desktop.notebook(OTHER, "exercises")
    before = own.read_bytes()
    for _ in range(2):
        unpack(file)
        assert own.read_bytes() == before
        assert sorted(p.name for p in own.parent.iterdir()) == [
            NAME,
            "00_start_here.unpacked.ipynb",
        ]
    desktop.notebook("", "exercises")  # as it was given out: nobody wrote there
    unpack(file)
    assert own.read_bytes() == (laptop.folder / NAME).read_bytes()


def test_a_desk_is_packed_from_anywhere_and_unpacked_into(laptop, desktop, monkeypatch, tmp_path):
    laptop.notebook(ANSWER, "exercises")
    monkeypatch.setattr(desk, "place", lambda: laptop.folder)
    monkeypatch.chdir(tmp_path)
    file, _ = pack([0])
    assert f"exercises/{NAME}" in form.read(file)
    desktop.here()
    monkeypatch.setattr(desk, "place", lambda: desktop.root / "desk")
    unpack(file)
    assert (desktop.root / "desk" / "exercises" / NAME).exists()


def test_only_the_chapters_named_are_packed(laptop):
    laptop.notebook(ANSWER)
    laptop.passed()
    ledger.count_attempt("3.1", "wrong", 1, 0)
    (parts.folder() / "e3_1_topk_route.py").write_text("topk_route = len\n")
    file, _ = pack([0])
    names = set(form.read(file))
    assert names == {f"exercises/{NAME}", "mine/e0_2_active_fraction.py", "progress.json"}
    assert set(json.loads(form.read(file)["progress.json"])["exercises"]) == {"0.2"}


def test_a_notebook_that_was_not_saved_is_told_from_one_that_was_changed_since(laptop):
    own = laptop.notebook()
    laptop.passed()
    os.utime(own, (0, 0))
    assert "on disk holds no answer to it: save the notebook" in pack([0])[1][0]
    own = laptop.notebook(OTHER)
    os.utime(own, (0, 0))
    assert "is older than your notebook in Jupyter" in pack([0])[1][0]
    laptop.notebook(OTHER)
    os.utime(own, (2**32, 2**32))
    assert "another one than the one that passed" in pack([0])[1][0]
    laptop.notebook("# my comment, and other spaces\n" + ANSWER.replace(" / ", "/"))
    assert len(pack([0])[1]) == 1


def test_a_notebook_without_an_answer_that_was_asked_for_is_packed_and_said_so(laptop):
    file = laptop.notebook()
    _, said = pack([0])
    assert said[0] == f"{file} holds no answer yet, and is packed as it is."
    laptop.notebook(ANSWER)
    assert not any("holds no answer yet" in told for told in pack([0])[1])


def test_an_answer_whose_check_never_ran_is_named(laptop):
    laptop.notebook(ANSWER)
    said = pack([0])[1]
    assert len(said) == 2 and "0.2 has an answer" in said[0] and "never run" in said[0]


def test_a_half_saved_notebook_is_packed_as_it_is_and_said_so(laptop):
    (laptop.folder / NAME).write_text('{"cells": [')
    file, said = pack()
    assert "half saved or damaged" in said[0]
    assert form.read(file)[f"exercises/{NAME}"] == b'{"cells": ['


def test_a_pack_takes_no_place_of_anything_but_a_pack(laptop):
    laptop.passed()
    named = laptop.folder / "hand_in.zip"
    pack([], named)
    pack([], named)
    first, second = pack()[0], pack()[0]
    assert first != second and first.exists()
    other = laptop.folder / "photos.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a.jpg", b"x")
    with pytest.raises(LookupError, match="is no pack"):
        pack([], other)


def test_nothing_to_pack_is_a_sentence_and_no_file(laptop, capsys):
    assert cli.main(["pack"]) == cli.USAGE
    assert "There is nothing to pack" in capsys.readouterr().err
    assert list(laptop.folder.iterdir()) == []
    assert cli.main(["pack", "77"]) == cli.USAGE
    assert cli.main(["pack", "three"]) == cli.USAGE


def rewritten(file: Path, **changes: bytes | None) -> Path:
    """Make a pack with other files in it; the manifest stays unless it is among them."""
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files |= {name.replace("__", "/"): content for name, content in changes.items()}
    made = file.with_name("changed.zip")
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    return made


@pytest.mark.parametrize(
    "name",
    [
        "../evil.py",
        "mine/../../evil.py",
        "/etc/evil.py",
        "mine/a b.py",
        "mine/.hidden.py",
        "mine\\evil.py",
        "C:/evil.py",
        "exercises/00_start_here.py",
        "mine/deep/er.py",
        "desk.txt",
        "mine/caf\u00e9.py",
        "mine/x.py\n",
    ],
)
def test_a_name_that_no_pack_holds_stops_all_before_anything_is_written(laptop, desktop, name):
    laptop.passed()
    file = pack()[0]
    files = form.read(file) | {name: b"print(1)"}
    form.write(file, files)
    desktop.here()
    with pytest.raises(form.BrokenPack, match="Nothing was unpacked"):
        unpack(file)
    assert [p for p in desktop.root.rglob("*") if p.is_file()] == []
    assert list(desktop.root.parent.glob("*evil*")) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"progress.json": b"{}"}, "was changed after it was packed"),
        ({"progress.json": None}, "was changed after it was packed"),
        ({"mine__added.py": b"1"}, "was changed after it was packed"),
        ({"manifest.json": None}, "not a pack"),
        ({"manifest.json": b"{}"}, "not a pack"),
        ({"manifest.json": b"[]"}, "not a pack"),
        ({"manifest.json": b'{"format": "moe-teach-pack", "version": 2}'}, "newer version"),
        ({"manifest.json": b'{"format": "other", "version": 1}'}, "not a pack"),
    ],
)
def test_a_changed_pack_is_refused_whole(laptop, desktop, changes, words):
    laptop.passed()
    file = rewritten(pack()[0], **changes)
    desktop.here()
    with pytest.raises(form.BrokenPack, match=words):
        unpack(file)
    assert [p for p in desktop.root.rglob("*") if p.is_file()] == []


def test_a_file_where_the_notebooks_should_go_is_a_sentence_and_nothing_arrives(
    laptop, desktop, capsys
):
    laptop.notebook(ANSWER)
    laptop.passed()
    file, _ = pack()
    desktop.here()
    (desktop.folder / "taken").write_text("mine")
    assert cli.main(["unpack", str(file), "--notebooks", "taken"]) == 2
    assert capsys.readouterr().err.startswith("moe-teach: taken is there already and is no folder")
    assert (desktop.folder / "taken").read_text() == "mine"
    assert not (desktop.root / "home").exists()


def test_a_file_that_is_no_archive_is_a_sentence(laptop, capsys):
    (laptop.folder / "half.zip").write_bytes(b"PK\x03\x04 and no more")
    for name in ("half.zip", "missing.zip", "."):
        assert cli.main(["unpack", name]) == cli.USAGE
        assert "moe-teach:" in capsys.readouterr().err


def test_damaged_progress_in_a_pack_changes_nothing(laptop, desktop):
    laptop.passed()
    file = pack()[0]
    form.write(file, form.read(file) | {"progress.json": b'{"exercises": 3}'})
    desktop.here()
    with pytest.raises(form.BrokenPack, match="record of progress"):
        unpack(file)
    assert [p for p in desktop.root.rglob("*") if p.is_file()] == []


def some_record(draw: random.Random) -> Record:
    state = draw.choice(["passed", "wrong", "raised", "not attempted"])
    is_passed = state == "passed"
    return Record(
        attempts=draw.randrange(4),
        failures=draw.randrange(3),
        state=state,
        passed_version=draw.randrange(1, 3) if is_passed else 0,
        passed_on=f"2026-01-0{draw.randrange(1, 9)}" if is_passed else "",
        points=1.0 if is_passed else 0.0,
        hints=tuple(sorted(draw.sample([1, 2, 3], draw.randrange(4)))),
        solution_opened=draw.random() < 0.5,
    )


def test_joining_forgets_nothing_and_does_not_ask_who_came_first():
    draw = random.Random(0)
    for _ in range(500):
        one, other = some_record(draw), some_record(draw)
        both = joined_record("0.2", one, other)
        assert both == joined_record("0.2", other, one)
        assert joined_record("0.2", both, one) == both == joined_record("0.2", both, other)
        assert joined_record("0.2", one, one) == one
        assert (both.state == "passed") == ("passed" in (one.state, other.state))
        assert both.passed_version == max(one.passed_version, other.passed_version)
        assert set(both.hints) == {*one.hints, *other.hints}
        assert both.attempts == max(one.attempts, other.attempts)
    assert joined(Progress({"0.1": one}), Progress({"99.9": other})).records == {
        "0.1": one,
        "99.9": other,
    }


def test_the_better_figure_of_an_open_task_is_the_one_its_goal_prefers():
    item = next(i for i in registry.every_item() if getattr(i, "goal", None) is not None)
    few = Record(attempts=1, best=1.0, best_version=item.version)
    many = replace(few, best=2.0)
    expected = 2.0 if item.goal.more_is_better else 1.0
    assert joined_record(item.id, few, many).best == expected
    assert joined_record(item.id, many, few).best == expected
    assert joined_record(item.id, many, Record()).best == 2.0
    newer = replace(few, best_version=item.version + 1)
    assert joined_record(item.id, many, newer).best == 1.0


def test_starters_alone_are_no_answers(laptop):
    laptop.notebook()
    laptop.passed()
    file, _ = pack()
    assert f"exercises/{NAME}" not in form.read(file)
    assert f"exercises/{NAME}" in form.read(pack([0])[0])
    assert materials.STUB in (laptop.folder / NAME).read_text()
