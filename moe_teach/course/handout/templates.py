"""Sets up the platforms that grade for a class: Gradescope, GitHub Classroom, nbgrader.

Files that are there already are left alone if they say something else.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from moe_teach.course import registry
from moe_teach.course.authoring import pages
from moe_teach.course.grading.probes import load_probes
from moe_teach.course.handout.notebooks import for_nbgrader
from moe_teach.files import write_atomically
from moe_teach.judging.exercise import Exercise

KINDS = ("gradescope", "github-classroom", "nbgrader")
ARCHIVE = "autograder.zip"
_FORMS = Path(__file__).parent / "forms"
_STEP = """\
      - name: Exercise {id}
        id: {key}
        uses: classroom-resources/autograding-command-grader@v1
        with:
          test-name: "{id} {name}"
          command: "{command}"
          timeout: 1
          max-score: {points}"""
_RESULT = '          {KEY}_RESULTS: "${{{{ steps.{key}.outputs.result }}}}"'


class InTheWay(LookupError):
    """A file stands where a template would go; the message says which."""


def lay_template(
    kind: str,
    root: Path,
    folder: Path,
    chapters: Sequence[int] = (),
    *,
    probes: Path | None = None,
    repository: str = "",
) -> list[Path]:
    """Write the files of a platform and give their paths.

    `probes` are the teacher's own; only Gradescope's archive takes them, which no student sees.
    `repository` is where nbgrader's notebooks will lie for students, as owner/name.

    Raises:
        LookupError: in a sentence, if a chapter does not exist, the probes cannot be loaded or
            would be seen, or another file is in the way; nothing is written then.
    """
    _demand_uses(kind, chapters, probes, repository)
    url = pages.repository_url(root)
    if kind == "gradescope":
        files = _gradescope(url, probes)
    elif kind == "nbgrader":
        files = _nbgrader(root, url, _known(chapters), repository)
    else:
        files = _classroom(url, _known(chapters))
    for name, content in files.items():
        file = folder / name
        if file.exists() and (not file.is_file() or file.read_bytes() != content):
            raise InTheWay(f"{file} is there already and says something else: move it away first.")
    for name, content in files.items():
        write_atomically(folder / name, content)
        if content.startswith(b"#!"):
            (folder / name).chmod(0o755)
    return [folder / name for name in files]


def _demand_uses(kind: str, chapters: Sequence[int], probes: Path | None, repository: str) -> None:
    """Refuse a wish that this platform has no use for: it would be passed over in silence."""
    if kind != "gradescope" and probes is not None:
        raise LookupError(
            f"{kind} takes no probes: students read a repository of theirs, and nbgrader knows its "
            "own checks only. Run `moe-teach grade --probes` on your own machine."
        )
    if kind == "gradescope" and chapters:
        raise LookupError(
            "gradescope takes no chapters: its grader sees from a notebook which chapter it is. "
            "Leave --chapters out."
        )
    if kind != "nbgrader" and repository:
        raise LookupError(
            f"{kind} takes no repository: the buttons that open it are in the notebooks of "
            "`moe-teach release`, so name it there and leave --repository out here."
        )


def _known(chapters: Sequence[int]) -> list[int]:
    for chapter in chapters:
        registry.room(chapter)
    return sorted(set(chapters or registry.chapters()))


def _nbgrader(root: Path, url: str, chapters: list[int], repository: str) -> dict[str, bytes]:
    """Give a course folder of nbgrader's: each chapter is an assignment."""
    files = {"nbgrader_config.py": (_FORMS / "nbgrader" / "nbgrader_config.py").read_bytes()}
    for slug in (registry.chapters()[chapter] for chapter in chapters):
        text = for_nbgrader(root / "solutions" / f"{slug}.ipynb", url, repository)
        files[f"source/{slug}/{slug}.ipynb"] = text
    return files


def _gradescope(url: str, probes: Path | None) -> dict[str, bytes]:
    files = {}
    for name in ("setup.sh", "run_autograder"):
        text = (_FORMS / "gradescope" / name).read_text("utf-8")
        files[name] = text.replace("@URL@", url).encode("utf-8")
    packed = dict(files)
    if probes is not None:
        load_probes(probes)
        packed |= {f"probes/{p.name}": p.read_bytes() for p in sorted(probes.glob("*.py"))}
    return {**files, ARCHIVE: _zipped(packed)}


def _zipped(files: dict[str, bytes]) -> bytes:
    """Pack files that stay executable; the same ones give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if content.startswith(b"#!") else 0o100644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _classroom(url: str, chapters: list[int]) -> dict[str, bytes]:
    exercises = [
        item
        for chapter in chapters
        for item in registry.load(chapter).values()
        if isinstance(item, Exercise)
    ]
    forms = _FORMS / "github_classroom"
    keys = {exercise.id: f"exercise_{exercise.id.replace('.', '_')}" for exercise in exercises}
    steps = [_STEP.format(**_facts(e), key=keys[e.id]) for e in exercises]
    results = [_RESULT.format(KEY=key.upper(), key=key) for key in keys.values()]
    workflow = (forms / "workflow.yml").read_text("utf-8")
    for mark, text in (
        ("@URL@", url),
        ("@STEPS@", "\n".join(steps)),
        ("@RESULTS@", "\n".join(results)),
        ("@RUNNERS@", ",".join(keys.values())),
    ):
        workflow = workflow.replace(mark, text)
    tests = [
        {
            "name": f"{e.id} {e.name}",
            "setup": "",
            "run": _facts(e)["command"],
            "input": "",
            "output": "",
            "comparison": "included",
            "timeout": 1,
            "points": e.points,
        }
        for e in exercises
    ]
    config = json.dumps({"tests": tests}, indent=1) + "\n"
    return {
        ".github/workflows/classroom.yml": workflow.encode("utf-8"),
        ".github/classroom/autograding.json": config.encode("utf-8"),
        ".github/classroom/passed.py": (forms / "passed.py").read_bytes(),
    }


def _facts(exercise: Exercise) -> dict[str, str]:
    command = f"python .github/classroom/passed.py {exercise.id} grades.json"
    facts = {"id": exercise.id, "name": exercise.name, "points": f"{exercise.points:g}"}
    return {**facts, "command": command}
