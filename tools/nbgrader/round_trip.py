"""Sends the course's exercises through the real nbgrader, and compares every score.

    make nbgrader                            all chapters, in an environment of its own
    python tools/nbgrader/round_trip.py 3 4  some of them, where nbgrader is installed

Each chapter is an assignment whose source is the solution notebook. Three hand it in: one has all
answers of the course, one hands in what was given out, and one has every other answer and a wrong
one beside it. The points must come to all, nothing, and exactly the share; the pages with feedback
must say why. Exit status: 0 all as it must be, 1 not.
"""

import csv
import html
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from moe_teach.course import materials, registry
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise
from moe_teach.ops.triton_mode import choose_mode

ROOT = Path(__file__).parents[2]
STUDENTS = ("solved", "untouched", "half")
PATIENCE = 300  # seconds for a cell: on a crowded machine a check may wait


def main(words: list[str]) -> int:
    """Try the chapters named, or all; print a line for each and what is wrong."""
    choose_mode()
    # nbgrader calls a tool that lies beside Python, whether or not this environment is activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    warnings.simplefilter("ignore")  # of nbgrader's own parts, about each other
    chapters = [int(word) for word in words] or list(registry.chapters())
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="moe-teach-nbgrader-") as folder:
        os.environ["MOE_TEACH_HOME"] = str(Path(folder) / "home")
        course = Path(folder) / "course"
        course.mkdir()
        os.chdir(course)
        api = opened(course)
        print("chapter                max  solved  untouched  half (due)  reasons shown")
        for chapter in chapters:
            faults += tried(api, course, chapter)
        faults += exported(course, chapters)
    print("\n".join(faults) if faults else "Every score and every reason is as it must be.")
    return 1 if faults else 0


def opened(course: Path):
    """Give nbgrader's own interface to a course folder."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    config = Config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.course_id = "moe"
    config.CourseDirectory.db_url = f"sqlite:///{course}/gradebook.db"
    config.ExecutePreprocessor.timeout = config.Execute.timeout = PATIENCE
    return NbGraderAPI(config=config)


def tried(api, course: Path, chapter: int) -> list[str]:
    """Send one chapter around; give a sentence for each thing that is not as it must be."""
    slug = registry.chapters()[chapter]
    exercises = [item for item in registry.load(chapter).values() if isinstance(item, Exercise)]
    source = ROOT / "solutions" / f"{slug}.ipynb"
    put(course / "source" / slug / source.name, source.read_text("utf-8"))
    faults = done(api.generate_assignment(slug), f"{slug}: generate_assignment")
    if faults:
        return faults
    released = (course / "release" / slug / source.name).read_text("utf-8")
    due = {}
    for student in STUDENTS:
        text, due[student] = handed_in(released, exercises, student)
        file = course / "submitted" / student / slug / source.name
        put(file, text)
        faults += validated(file, exercises, due[student])
        faults += done(api.autograde(slug, student), f"{slug}, {student}: autograde")
        faults += done(api.generate_feedback(slug, student), f"{slug}, {student}: feedback")
    got = scores(api, slug)
    for student in STUDENTS:
        given = {i: got[student].get(f"check-{i.replace('.', '-')}") for i in due[student]}
        faults += [
            f"{slug}, {student}: {i} has {given[i]} points and must have {points}."
            for i, points in due[student].items()
            if given[i] != points
        ]
    reasons, missing = explained(course, slug, exercises, due)
    total = {student: sum(v or 0 for v in got[student].values()) for student in STUDENTS}
    print(
        f"{slug:22} {sum(e.points for e in exercises):4g} {total['solved']:7g} "
        f"{total['untouched']:10g} {total['half']:5g} ({sum(due['half'].values()):g})"
        f"  {reasons - len(missing):8} of {reasons}",
        flush=True,
    )
    return faults + missing


def put(file: Path, text: str) -> None:
    """Write a file and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def done(result: dict, what: str) -> list[str]:
    """Complain of a step of nbgrader's that did not succeed."""
    return [] if result["success"] else [f"{what} failed: {result.get('log') or result['error']}"]


def handed_in(
    released: str, exercises: list[Exercise], student: str
) -> tuple[str, dict[str, float]]:
    """Write a student's answers into the released notebook; give it and the points due by id."""
    notebook = json.loads(released)
    due = {exercise.id: 0.0 for exercise in exercises}
    for number, exercise in enumerate(exercises):
        cell = answer_cell(notebook, exercise)
        if student == "solved" or (student == "half" and number % 2 == 0):
            cell["source"] = materials.without_markers(materials.solution_cell(exercise))
            due[exercise.id] = float(exercise.points)
        elif student == "half":  # what else the cell defines, later cells may use
            wrong = f"def {exercise.name}(*given, **named):\n    return None"
            cell["source"] = "".join(cell["source"]) + "\n\n\n" + wrong
    return json.dumps(notebook), due


def answer_cell(notebook: dict, exercise: Exercise) -> dict:
    """Find the cell for an answer by nbgrader's own name for it."""
    wanted = f"solution-{exercise.id.replace('.', '-')}"
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == wanted:
            return cell
    raise SystemExit(f"The release of exercise {exercise.id} has no cell {wanted}.")


def validated(file: Path, exercises: list[Exercise], due: dict[str, float]) -> list[str]:
    """Let nbgrader validate a hand-in as its author would: exactly what fails must be named."""
    from nbgrader.validator import Validator

    validator = Validator()
    for preprocessor in validator.preprocessors:
        if hasattr(preprocessor, "timeout"):
            preprocessor.timeout = PATIENCE
    found = validator.validate(str(file)).get("failed", [])
    told = {entry["source"]: entry["raw_error"] for entry in found}
    faults = []
    for exercise in exercises:
        call, where = f'check("{exercise.id}", {exercise.name})', f"{file.parts[-3]}, validate"
        if (call in told) != (due[exercise.id] == 0):
            faults.append(f"{where}: {call} is judged otherwise than its points say.")
        elif call in told and f"{exercise.id} {exercise.title}" not in told[call]:
            faults.append(f"{where}: {call} fails without its reason: {told[call]!r}")
    return faults


def scores(api, slug: str) -> dict[str, dict[str, float | None]]:
    """Read the points that nbgrader keeps, by student and cell."""
    with api.gradebook as gradebook:
        return {
            student: {
                grade.cell.name: grade.score
                for notebook in gradebook.find_submission(slug, student).notebooks
                for grade in notebook.grades
            }
            for student in STUDENTS
        }


def explained(
    course: Path, slug: str, exercises: list[Exercise], due: dict[str, dict[str, float]]
) -> tuple[int, list[str]]:
    """Look for the reason of each failed check in the feedback pages; count and complain."""
    count, missing = 0, []
    cells = [
        (role, i, materials.starter_of(c))
        for role, i, c in materials.cells_of(exercises[0].chapter)
    ]
    starters = materials.build_namespace(cells)
    for student in STUDENTS:
        page = (course / "feedback" / student / slug / f"{slug}.html").read_text("utf-8")
        for number, exercise in enumerate(exercises):
            if due[student][exercise.id]:
                continue
            wrong = student == "half" and number % 2
            answer = (lambda *_, **__: None) if wrong else starters[exercise.name]
            outcome = run_exercise(exercise, answer)
            said = [outcome.message, outcome.cause]
            count += 1
            if not all(shown(text, page) for text in said):
                missing.append(f"{slug}, {student}: the page does not say why {exercise.id} fails.")
    return count, missing


def shown(text: str, page: str) -> bool:
    """Tell whether a page shows a text, whatever tags stand between its words."""
    return all(html.escape(piece) in page for piece in text.replace("*", "`").split("`"))


def exported(course: Path, chapters: list[int]) -> list[str]:
    """Export the grades as the command does; the table must have everybody in every chapter."""
    command = [sys.executable, "-m", "nbgrader", "export", "--to", "grades.csv"]
    ran = subprocess.run(command, cwd=course, capture_output=True, text=True)
    if ran.returncode:
        return [f"export failed: {ran.stderr[-500:]}"]
    with (course / "grades.csv").open(encoding="utf-8") as stream:
        rows = {(row["assignment"], row["student_id"]): row for row in csv.DictReader(stream)}
    faults = []
    for slug in (registry.chapters()[chapter] for chapter in chapters):
        solved, untouched = rows.get((slug, "solved")), rows.get((slug, "untouched"))
        if not solved or float(solved["score"]) != float(solved["max_score"]):
            faults.append(f"{slug}: the export does not give the solution all points.")
        if not untouched or float(untouched["score"]) != 0:
            faults.append(f"{slug}: the export does not give what was handed out exactly nothing.")
    return faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
