"""Collecting: whatever platforms and people pack, everybody is found and nothing is unpacked."""

import os
import stat
import zipfile
from pathlib import Path

import pytest

from moe_teach.course.grading import archives
from moe_teach.course.grading.collect import UNREADABLE, collect
from moe_teach.course.grading.recover import recover
from tests.course.grading.hand_ins import as_bytes, packed, solved

NOTEBOOK = as_bytes({"cells": [], "nbformat": 4})


def people(*paths):
    return [one.student for one in collect(paths)]


def refused(submissions):
    return [one for one in submissions if one.flags and one.flags[0].startswith(UNREADABLE)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["anna/03_router.ipynb"], ["anna"]),
        (["anna/work/03_router.ipynb", "bo/03_router (1).ipynb"], ["anna", "bo"]),
        (["class/anna/a.ipynb", "class/bo/a.ipynb"], ["anna", "bo"]),
        (["submitted/anna/week3/03_router.ipynb"], ["anna"]),
        (["03_router.ipynb"], ["hand-in"]),
        (["anna_03_router.ipynb", "bo-03-router-1.ipynb"], ["anna", "bo"]),
        (["03_router.new.ipynb", "03_router.unpacked-2.ipynb"], ["hand-in"]),
        (["Anna Berg_77_assignsubmission_file_/nb.ipynb"], ["Anna Berg [77]"]),
        (["Anna Berg_77_assignsubmission_file_nb.ipynb"], ["Anna Berg [77]"]),
        (
            ["berganna_12_345_03_router.ipynb", "boli_LATE_13_346_x.ipynb"],
            ["berganna [12]", "boli [13]"],
        ),
        (
            ["submission_9/03_router.ipynb", "submission_10/03_router.ipynb"],
            ["submission_10 [10]", "submission_9 [9]"],
        ),
        (["🦊 李小龍/a.ipynb", "محمد/a.ipynb"], ["محمد", "🦊 李小龍"]),
        (["an\u202ena/a.ipynb"], ["anna"]),
    ],
)
def test_students_are_told_by_the_names_of_folders_and_platforms(lay_out, names, expected):
    folder = lay_out(dict.fromkeys(names, NOTEBOOK))
    assert people(folder) == expected

    archive = folder.parent / "hand-in.zip"
    archive.write_bytes(packed({f"hand-in/{name}": NOTEBOOK for name in names}))
    assert people(archive) == expected


def test_gradescope_says_in_a_list_of_its_own_who_handed_in_what(lay_out):
    listed = b"submission_9:\n  :submitters:\n  - :name: Anna Berg\n    :sid: '77'\n  :score: 1\n"
    folder = lay_out({"x/submission_metadata.yml": listed, "x/submission_9/a.ipynb": NOTEBOOK})
    assert people(folder) == ["Anna Berg [77]"]


def test_a_single_notebook_is_called_after_its_owner_or_its_folder(lay_out):
    folder = lay_out({"bo/03_router.ipynb": NOTEBOOK, "anna.ipynb": NOTEBOOK})
    assert people(folder / "bo" / "03_router.ipynb", folder / "anna.ipynb") == ["anna", "bo"]


def test_two_students_of_one_name_stay_two(lay_out):
    moodle = lay_out({f"Kim Lee_{n}_assignsubmission_file_/a.ipynb": NOTEBOOK for n in (5, 6)})
    assert people(moodle) == ["Kim Lee [5]", "Kim Lee [6]"]
    folder = lay_out({"one/kim/a.ipynb": NOTEBOOK, "two/kim/a.ipynb": NOTEBOOK + b" "})
    found = collect([folder / "one", folder / "two"])
    assert [one.student for one in found] == ["kim (one)", "kim (two)"]
    assert all("told apart" in one.flags[0] for one in found)


def test_a_student_may_hand_in_several_chapters_among_other_files(lay_out):
    folder = lay_out(
        {
            "anna/03_router.ipynb": NOTEBOOK,
            "anna/04_dispatch.ipynb": NOTEBOOK + b" ",
            "anna/.ipynb_checkpoints/03_router-checkpoint.ipynb": NOTEBOOK,
            "anna/notes.pdf": b"%PDF",
            "anna/helper.py": b"x = 1",
            "anna/torch.py": b"raise SystemExit",
        }
    )
    found = collect([folder])
    assert [one.name for one in found] == ["anna/03_router.ipynb", "anna/04_dispatch.ipynb"]
    assert all(
        one.flags == ("anna/torch.py: It has the name of the module torch; it is ignored.",)
        for one in found
    )


def test_a_link_is_not_followed_and_its_owner_is_not_lost(lay_out):
    folder = lay_out({"bo/03_router.ipynb": NOTEBOOK})
    (folder / "anna").mkdir()
    (folder / "anna" / "03_router.ipynb").symlink_to(folder / "bo" / "03_router.ipynb")
    anna, bo = collect([folder])
    assert (anna.content, bo.content) == (b"", NOTEBOOK)
    assert "not followed" in anna.flags[0]
    assert recover(anna).problem.startswith("A link was handed in")
    assert recover(anna).chapter == 3


@pytest.mark.parametrize("name", ["anna/../../evil.ipynb", "/etc/anna.ipynb", "C:\\anna\\a.ipynb"])
def test_a_name_that_leads_out_of_an_archive_is_refused(tmp_path: Path, name):
    archive = tmp_path / "class.zip"
    archive.write_bytes(packed({name: NOTEBOOK, "bo/a.ipynb": NOTEBOOK}))
    before = sorted(tmp_path.rglob("*"))
    found = collect([archive])
    assert [one.student for one in found if one.content] == ["bo"]
    assert len(refused(found)) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_an_archive_is_refused(tmp_path: Path):
    archive = tmp_path / "class.zip"
    with zipfile.ZipFile(archive, "w") as made:
        link = zipfile.ZipInfo("anna/a.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
    (anna,) = collect([archive])
    assert "link" in anna.flags[0]


def test_a_bomb_is_not_unpacked(tmp_path: Path):
    archive = tmp_path / "class.zip"
    archive.write_bytes(packed({"anna/a.ipynb": b" " * (20 << 20), "bo/a.ipynb": NOTEBOOK}))
    anna, bo = collect([archive])
    assert "200 to 1" in anna.flags[0]
    assert bo.content == NOTEBOOK


def test_an_archive_that_lies_about_sizes_gives_no_more_than_the_cap(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    content = packed({"anna/a.ipynb": os.urandom(5000)})
    true = (5000).to_bytes(4, "little")
    (tmp_path / "class.zip").write_bytes(content.replace(true, (10).to_bytes(4, "little")))
    (anna,) = collect([tmp_path / "class.zip"])
    assert anna.content == b"" or len(anna.content) <= 1000


def test_too_many_files_of_one_student_cost_the_others_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    archive = tmp_path / "class.zip"
    names = [*(f"anna/env/{i}.ipynb" for i in range(9)), "bo/03_router.ipynb"]
    archive.write_bytes(packed({name: NOTEBOOK + name.encode() for name in names}))
    *anna, bo = collect([archive])
    assert (len(anna), bo.student) == (3, "bo")
    assert "Only the first 3" in anna[0].flags[0]


def test_reading_ends_at_the_cap_of_everything_together_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_TOTAL", 100)
    archive = tmp_path / "class.zip"
    archive.write_bytes(packed({f"s{i}/a.ipynb": NOTEBOOK for i in range(9)}))
    assert "Reading stopped" in collect([archive])[-1].flags[0]


def test_archives_in_archives_are_opened_to_a_depth(tmp_path: Path):
    inner = packed({"03_router.ipynb": NOTEBOOK})
    deep = packed({"pack.zip": inner})
    archive = tmp_path / "class.zip"
    archive.write_bytes(
        packed({"anna/pack.zip": inner, "bo.zip": deep, "cy/w.zip": packed({"x.zip": deep})})
    )
    found = collect([archive])
    assert [(one.student, bool(one.content)) for one in found] == [
        ("anna", True),
        ("bo", True),
        ("cy", False),
    ]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"no zip at all"])
def test_a_damaged_archive_is_a_student_to_look_at(lay_out, content):
    folder = lay_out({"anna.zip": content, "bo/a.ipynb": NOTEBOOK})
    anna, bo = collect([folder])
    assert "damaged" in anna.flags[0]
    assert bo.content


def test_damaged_archives_of_several_students_keep_their_names(tmp_path: Path):
    files = [tmp_path / "anna.zip", tmp_path / "bo_03_router.zip"]
    for file in files:
        file.write_bytes(b"PK\x03\x04 broken")
    found = collect(files)
    assert [one.student for one in found] == ["anna", "bo"]
    assert all(recover(one).problem.startswith("The zip archive is damaged: ") for one in found)


def test_names_reserved_on_windows_are_read_and_flagged(tmp_path: Path):
    archive = tmp_path / "class.zip"
    archive.write_bytes(packed({"anna/CON.ipynb": NOTEBOOK, "anna/aux/nul.ipynb": NOTEBOOK + b" "}))
    found = collect([archive])
    assert [one.student for one in found] == ["anna", "anna"]
    assert all("reserved on Windows" in one.flags[0] for one in found)


def test_a_student_without_a_notebook_is_kept_with_a_word(lay_out):
    folder = lay_out({"anna/report.html": b"<html>", "anna/random.py": b"", "bo/a.ipynb": NOTEBOOK})
    anna, _ = collect([folder])
    assert anna.content == b""
    assert "random.py" in anna.flags[0]
    assert recover(anna).problem


def test_a_pack_of_a_learner_is_one_hand_in(tmp_path: Path):
    pack = packed(
        {"03_router.ipynb": as_bytes(solved()), "manifest.json": b"{}", "mine/__init__.py": b""}
    )
    archive = tmp_path / "anna.zip"
    archive.write_bytes(pack)
    (anna,) = collect([archive])
    assert (anna.student, recover(anna).missing) == ("anna", ())


def test_the_folder_of_own_parts_is_a_hand_in_of_its_chapters(lay_out):
    part = b'# moe-teach: {"exercise": "%s"}\n\ndef %s(): return 1\n'
    folder = lay_out(
        {
            "anna/mine/__init__.py": b"",
            "anna/mine/e3_1_topk_route.py": part % (b"3.1", b"topk_route"),
            "anna/mine/e4_3_combine.py": part % (b"4.3", b"combine"),
            "anna/mine/earlier/e3_1_topk_route_1.py": part % (b"3.1", b"topk_route"),
        }
    )
    third, fourth = map(recover, collect([folder]))
    assert [c.exercise for c in third.cells] == ["3.1"]
    assert [c.exercise for c in fourth.cells] == ["4.3"]


def test_the_order_of_paths_changes_nothing(lay_out):
    folder = lay_out({f"s{i}/a.ipynb": NOTEBOOK + b" " * i for i in range(5)})
    paths = sorted(folder.iterdir())
    assert collect(paths) == collect(reversed(paths)) == collect([*paths, *paths])


def test_a_path_without_anything_is_said_in_a_sentence(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="There is nothing at"):
        collect([tmp_path / "gone"])
