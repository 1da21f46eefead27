"""A hand-out holds no solution, leads nowhere near one, and never writes over somebody's work."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from moe_teach import cli
from moe_teach.course import materials, registry
from moe_teach.course.grading import probes
from moe_teach.course.handout import templates
from moe_teach.course.handout.notebooks import NotFit
from moe_teach.course.handout.release import NoPlace, release
from moe_teach.course.learner.packing.form import digest
from moe_teach.exit_status import FAILED
from moe_teach.judging.engine import run_exercise

ROOT = Path(__file__).parents[2]
URL = "https://github.com/moe-teach/moe_teach"
SOLUTION = ROOT / "solutions/03_router.ipynb"
GOOD = """
from moe_teach.course.grading.probes import extra
from moe_teach.judging.exercise import require


@extra("0.2")
def all_experts_chosen(answer, seed):
    got = answer(10 + seed, 7, 4000, 4000)
    require(got == 1, "With all experts chosen everything is active.", expected=1, got=got)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "class"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def text_of(file: Path) -> str:
    cells = json.loads(file.read_text("utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def test_a_hand_out_has_exercises_a_page_and_hashes_and_nothing_else(folder):
    release(ROOT, folder, [0, 3], repository="uni/moe-2026")
    files = contents(folder)
    assert set(files) == {
        "README.md",
        "manifest.json",
        "requirements.txt",
        "exercises/00_start_here.ipynb",
        "exercises/03_router.ipynb",
    }
    listed = json.loads(files.pop("manifest.json"))["files"]
    assert listed == {name: digest(content) for name, content in files.items()}


def test_buttons_open_the_hand_outs_repository_and_no_link_leads_to_a_solution(folder):
    release(ROOT, folder, [3], repository="uni/moe-2026", lessons=True)
    for name in ("exercises/03_router.ipynb", "notebooks/03_router.ipynb"):
        text = text_of(folder / name)
        assert f"colab.research.google.com/github/uni/moe-2026/blob/main/{name}" in text
        assert "mybinder.org/v2/gh/uni/moe-2026/HEAD" in text
        assert "github/moe-teach/moe_teach/blob" not in text
        assert "solutions/" not in text
        assert materials.BEGIN not in text
    page = (folder / "README.md").read_text()
    assert "github/uni/moe-2026/blob/main/exercises/03_router.ipynb" in page
    assert "solutions" not in page


def test_what_is_not_handed_out_is_linked_where_the_course_lies(folder):
    release(ROOT, folder, [3])
    text = text_of(folder / "exercises/03_router.ipynb")
    assert f"]({URL}/blob/main/notebooks/03_router.ipynb)" in text
    assert "](../" not in text
    release(ROOT, folder, [3], lessons=True)
    assert "](../notebooks/03_router.ipynb)" in text_of(folder / "exercises/03_router.ipynb")


def test_a_second_release_renews_what_nobody_changed_and_lays_the_rest_beside(folder):
    release(ROOT, folder, [0])
    assert "0 of them new" in release(ROOT, folder, [0])[-1]
    own = folder / "exercises/00_start_here.ipynb"
    own.write_text("our own form")
    (folder / "notes.md").write_text("notes")
    for _ in range(2):
        said = release(ROOT, folder, [0], repository="uni/moe")
        assert own.read_text() == "our own form"
        assert sorted(p.name for p in own.parent.iterdir()) == [
            "00_start_here.ipynb",
            "00_start_here.new.ipynb",
        ]
        assert any("was changed by somebody and stays" in told for told in said)
    assert "uni/moe" in (folder / "README.md").read_text()
    assert (folder / "notes.md").read_text() == "notes"
    said = release(ROOT, folder, [3])
    assert any("exercises/00_start_here.ipynb is of an earlier release" in t for t in said)
    assert own.read_text() == "our own form"


def test_an_exercise_that_somebody_has_solved_is_not_handed_out(tmp_path, folder):
    clone = tmp_path / "clone"
    (clone / "exercises").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", clone)
    shutil.copy(ROOT / "solutions/00_start_here.ipynb", clone / "exercises")
    with pytest.raises(NotFit, match=r"holds an answer to exercise 0\.1"):
        release(clone, folder, [0])
    assert not folder.exists()


@pytest.mark.parametrize("place", [".", "..", "exercises", "moe_teach/course"])
def test_a_hand_out_is_never_written_into_the_course(place):
    with pytest.raises(NoPlace):
        release(ROOT, ROOT / place, [0])


def test_a_folder_with_another_manifest_is_left_alone(folder):
    folder.mkdir()
    for text in ("{}", "[1", '{"format": "other", "files": {}}'):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(NoPlace, match="not a hand-out's"):
            release(ROOT, folder, [0])
        assert contents(folder) == {"manifest.json": text.encode()}


def test_probes_are_loaded_tried_and_stay_out_of_the_hand_out(tmp_path, folder, capsys):
    private = tmp_path / "private"
    private.mkdir()
    (private / "00_start_here.py").write_text(GOOD)
    words = ["release", str(folder), "--chapters", "0", "--probes", str(private)]
    assert cli.main(words) == 0
    assert "1 probe tried: the solution passes, nonsense does not." in capsys.readouterr().out
    assert [p.name for p in private.iterdir()] == ["00_start_here.py"]
    assert all(b"all_experts_chosen" not in content for content in contents(folder).values())
    (private / "00_start_here.py").write_text(GOOD.replace("got == 1", "got == 2"))
    assert cli.main(words) == FAILED
    assert "0.2, all experts chosen: the solution is turned away" in capsys.readouterr().out
    (private / "00_start_here.py").write_text(GOOD.replace("got == 1", "True"))
    assert cli.main(words) == FAILED
    assert "lets an answer of nonsense pass" in capsys.readouterr().out
    inside = folder / "probes"
    assert cli.main([*words[:-1], str(inside)]) == cli.USAGE
    assert "lies in the hand-out" in capsys.readouterr().err


def test_a_folder_of_probes_is_no_place_for_a_hand_out(folder):
    folder.mkdir()
    (folder / "03_router.py").write_text(GOOD)
    with pytest.raises(NoPlace, match=r"holds 03_router\.py, which is called like a teacher's"):
        release(ROOT, folder, [0])
    assert set(contents(folder)) == {"03_router.py"}


def test_probes_for_gradescope_are_tried_too(tmp_path, folder, capsys):
    private = tmp_path / "private"
    private.mkdir()
    (private / "00_start_here.py").write_text(GOOD.replace("got == 1", "got == 2"))
    words = ["template", "gradescope", str(folder), "--probes", str(private)]
    assert cli.main(words) == FAILED
    assert "0.2, all experts chosen: the solution is turned away" in capsys.readouterr().out


def test_a_probe_turns_away_what_the_courses_own_stages_let_through(tmp_path):
    (tmp_path / "00_start_here.py").write_text(GOOD)
    found = probes.load_probes(tmp_path)
    exercise = registry.find_exercise("0.2")
    judged = probes.with_probes(exercise, found)

    def cheat(n_shared, n_per_expert, n_experts, top_k):
        right = (n_shared + top_k * n_per_expert) / (n_shared + n_experts * n_per_expert)
        return right if n_experts < 1000 else 0.9

    outcome = run_exercise(judged, cheat)
    assert (outcome.state, outcome.stage) == ("wrong", "all experts chosen")
    assert run_exercise(judged, materials.reference(exercise)).state == "passed"
    assert len(exercise.stages) == len(judged.stages) - 1  # the course's own stays as it was


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("routers.py", GOOD, "is not called like a chapter"),
        ("00_start_here.py", "x = 1\n", "holds no probe"),
        (
            "00_start_here.py",
            "x = 1\ndef\n",
            r"line 2 \(`def`\), is not Python: invalid syntax\. C",
        ),
        (
            "00_start_here.py",
            "raise ValueError('no')\n",
            r"line 1 \(.*\), went wrong: no\. Correct",
        ),
        ("00_start_here.py", "\n{}['x']\n", r"line 2 \(.*\), went wrong: there is no key 'x'\."),
        ("00_start_here.py", "assert 0\n", "line 1 .* went wrong: what it asserts does not hold"),
        ("00_start_here.py", "raise StopIteration\n", "went wrong: stop iteration, without a word"),
        (
            "00_start_here.py",
            "import torhc\n",
            r"line 1 .* cannot import .* install what is missing",
        ),
        (
            "00_start_here.py",
            "import sys\nsys.exit(0)\n",
            r"line 2 .* ends Python, and all grading",
        ),
        ("00_start_here.py", "x = 1 # \xff\n", "line 1, is not text in UTF-8: save"),
        ("00_start_here.py", GOOD.replace('"0.2"', "0.2"), r"line 6 .* named in quotes, as in"),
        ("00_start_here.py", GOOD.replace('("0.2")', ""), r"line 6 .* named in quotes, as in"),
        ("00_start_here.py", GOOD.replace(", seed)", ")"), r"must take two things, .* seed\):`"),
        ("00_start_here.py", GOOD + '@extra("0.2")\nclass A:\n    pass\n', "A is no function"),
        ("03_router.py", GOOD, "belongs to another chapter"),
        ("00_start_here.py", GOOD.replace("0.2", "0.77"), "There is no '0.77'"),
        ("00_start_here.py", GOOD.replace("0.2", "0.q1"), "is a question"),
        ("00_start_here.py", GOOD.replace("all_experts_chosen", "a_number"), "already"),
    ],
)
def test_a_file_of_probes_that_cannot_be_used_is_a_sentence(tmp_path, name, text, words):
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(probes.BadProbe, match=words) as told:
        probes.load_probes(tmp_path)
    assert not re.search(r"[a-z](Error|Exit|Iteration)\b", re.sub("`.*?`", "", str(told.value)))


def test_a_probe_that_breaks_on_the_solution_is_named_by_the_line_that_broke(tmp_path):
    (tmp_path / "00_start_here.py").write_text(GOOD.replace("got == 1", "gto == 1"))
    (complaint,) = probes.complaints(probes.load_probes(tmp_path))
    assert complaint.startswith("0.2, all experts chosen: it breaks on the solution.")
    assert re.search(r"line 9 \(`require.*`\), went wrong: name 'gto' is not defined\.", complaint)
    (tmp_path / "00_start_here.py").write_text(GOOD)
    assert probes.complaints(probes.load_probes(tmp_path)) == []


def test_a_folder_without_probes_is_a_sentence(tmp_path):
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(probes.BadProbe, match="holds no probes"):
            probes.load_probes(place)


def test_gradescopes_archive_holds_executables_and_the_probes(tmp_path, folder):
    private = tmp_path / "private"
    private.mkdir()
    (private / "00_start_here.py").write_text(GOOD)
    templates.lay_template("gradescope", ROOT, folder, probes=private)
    assert not (folder / "probes").exists()
    with zipfile.ZipFile(folder / templates.ARCHIVE) as archive:
        modes = {i.filename: i.external_attr >> 16 & 0o777 for i in archive.infolist()}
    assert modes == {"setup.sh": 0o755, "run_autograder": 0o755, "probes/00_start_here.py": 0o644}
    assert "@" not in (folder / "setup.sh").read_text().replace('"${@', "").replace(" @ git", "")
    subprocess.run(["bash", "-n", folder / "setup.sh"], check=True)
    again = templates.lay_template("gradescope", ROOT, folder, probes=private)
    assert len(again) == 3
    (folder / "setup.sh").write_text("our own")
    with pytest.raises(templates.InTheWay, match=r"setup\.sh"):
        templates.lay_template("gradescope", ROOT, folder)
    assert (folder / "setup.sh").read_text() == "our own"


COMMAND = """#!{python}
import json, pathlib, sys
words = sys.argv[1:]
if words[0] == "grade":
    sys.exit({status})
out = pathlib.Path(words[words.index("--to") + 1]) / "submission-1" / "results.json"
out.parent.mkdir(parents=True)
out.write_text(json.dumps({page}))
"""
TEST = {"name": "Exercise 3.1", "max_score": 2, "score": 1.5, "output": "Look again."}


@pytest.mark.parametrize(
    ("status", "page", "is_written"),
    [
        (0, {"tests": [TEST], "output": ""}, True),
        (1, {"tests": [TEST], "output": ""}, True),
        (3, {"tests": [TEST], "output": ""}, False),
        (1, {"tests": [], "output": "Nothing to grade."}, False),
        (1, {"tests": [{"name": "Exercise 3.1", "max_score": 2}], "output": "3.1"}, False),
    ],
)
def test_gradescope_gets_points_or_no_result_and_never_a_zero_by_default(
    tmp_path, folder, status, page, is_written
):
    templates.lay_template("gradescope", ROOT, folder)
    command = tmp_path / "moe-teach"
    command.write_text(COMMAND.format(python=sys.executable, status=status, page=repr(page)))
    command.chmod(0o755)
    place = tmp_path / "autograder"
    (place / "submission").mkdir(parents=True)
    around = {**os.environ, "AUTOGRADER": str(place), "MOE_TEACH": str(command)}
    ran = subprocess.run(
        [sys.executable, folder / "run_autograder"], env=around, capture_output=True, text=True
    )
    results = place / "results" / "results.json"
    assert (ran.returncode == 0) == is_written == results.exists(), ran.stderr
    if is_written:
        assert json.loads(results.read_text()) == {"tests": [TEST], "score": 1.5}
    else:
        assert "could not be graded in full" in ran.stdout


def test_the_workflow_has_a_step_and_a_result_for_every_exercise(folder):
    templates.lay_template("github-classroom", ROOT, folder, [0])
    ids = [e.id for e in registry.load(0).values() if ".q" not in e.id]
    (job,) = yaml.safe_load((folder / ".github/workflows/classroom.yml").read_text())[
        "jobs"
    ].values()
    graded = [s for s in job["steps"] if "command-grader" in s.get("uses", "")]
    assert [s["with"]["test-name"].split()[0] for s in graded] == ids
    (report,) = [s for s in job["steps"] if "reporter" in s.get("uses", "")]
    runners = report["with"]["runners"].split(",")
    assert runners == [s["id"] for s in graded]
    assert report["env"] == {
        f"{r.upper()}_RESULTS": f"${{{{ steps.{r}.outputs.result }}}}" for r in runners
    }
    config = json.loads((folder / ".github/classroom/autograding.json").read_text())
    points = {e.id: e.points for e in registry.load(0).values() if ".q" not in e.id}
    assert [t["points"] for t in config["tests"]] == list(points.values())
    assert [s["with"]["command"] for s in graded] == [t["run"] for t in config["tests"]]


@pytest.mark.parametrize(
    ("item_id", "status", "words"),
    [("3.1", 0, "passed"), ("3.2", 1, "Look again."), ("3.3", 1, "No answer to 3.3")],
)
def test_a_step_of_the_workflow_tells_why_and_passes_only_full_points(
    folder, item_id, status, words
):
    templates.lay_template("github-classroom", ROOT, folder, [3])
    grades = [
        {"exercise": "3.1", "points": 2, "max_points": 2, "message": "", "status": "passed"},
        {"exercise": "3.2", "points": None, "max_points": 2, "message": "Look again."},
    ]
    file = folder / "grades.json"
    file.write_text(json.dumps({"students": [{"grades": grades}]}))
    command = [sys.executable, folder / ".github/classroom/passed.py", item_id, file]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, words in ran.stdout) == (status, True), ran.stderr


def test_probes_are_refused_where_students_read(tmp_path, folder):
    with pytest.raises(LookupError, match="takes no probes"):
        templates.lay_template("github-classroom", ROOT, folder, [0], probes=tmp_path)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("gradescope", ("--chapters", "0"), "gradescope takes no chapters"),
        ("gradescope", ("--repository", "uni/moe"), "gradescope takes no repository"),
        ("github-classroom", ("--repository", "uni/moe"), "github-classroom takes no repository"),
    ],
)
def test_a_wish_that_a_platform_has_no_use_for_is_not_passed_over(
    folder, capsys, kind, words, said
):
    assert cli.main(["template", kind, str(folder), *words]) == cli.USAGE
    assert capsys.readouterr().err.startswith(f"moe-teach: {said}")
    assert not folder.exists()


def test_what_nbgrader_releases_opens_the_classs_exercises_and_not_the_solutions(folder):
    templates.lay_template("nbgrader", ROOT, folder, [3], repository="uni/moe")
    assert set(contents(folder)) == {"nbgrader_config.py", "source/03_router/03_router.ipynb"}
    source = folder / "source/03_router/03_router.ipynb"
    text = text_of(source)
    assert "github/uni/moe/blob/main/exercises/03_router.ipynb" in text
    assert "solutions/" not in text and "](../" not in text
    assert materials.BEGIN in text  # nbgrader takes what stands there out of it
    ours, given = (json.loads(p.read_text("utf-8"))["cells"] for p in (source, SOLUTION))
    assert [c["metadata"] for c in ours] == [c["metadata"] for c in given]


def test_mistyped_words_are_sentences(folder, capsys):
    assert cli.main(["release", str(folder), "--repository", "nowhere"]) == cli.USAGE
    assert "owner/name" in capsys.readouterr().err
    assert cli.main(["release", str(folder), "--chapters", "77"]) == cli.USAGE
    assert "There is no chapter 77" in capsys.readouterr().err
    for word in ("0,3", "06b", "router"):
        assert cli.main(["release", str(folder), "--chapters", word]) == cli.USAGE
        assert "Type several with spaces between them: 03 04." in capsys.readouterr().err
    address = "https://github.com/uni/moe"
    assert cli.main(["release", str(folder), "--repository", address]) == cli.USAGE
    assert "only its last two parts" in capsys.readouterr().err
    assert not folder.exists()
