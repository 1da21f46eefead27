"""The fresh process: loads a text as a module and runs the exercise's check on it once more.

`python -m moe_teach.course.learner.mine.proving 3.1` proves what waits for exercise 3.1 and makes
it the part; with `--parts` the parts themselves are proved, and one line of JSON for each is
printed: `["3.1", ""]`, or the reason in place of the empty text.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from moe_teach.course import materials, registry
from moe_teach.course.learner.mine import parts, waiting
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise

_MORE_TIME = 4  # times the exercise's limit: a fresh process is cold, and seldom alone


def prove(exercise: Exercise, text: str) -> str:
    """Load a text from a file of its own and check it; empty if it passes, else say why not."""
    if "triton" in text:
        from moe_teach.ops.triton_mode import choose_mode

        choose_mode()  # before the part imports Triton
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / parts.file_of(exercise).name
        file.write_text(text, encoding="utf-8")
        try:
            answer = parts.load(exercise, file)
        except parts.BrokenPart as problem:
            return f"in a fresh process {problem}."
        outcome = run_exercise(exercise, answer, reference=materials.reference)
    if outcome.state == "passed":
        return ""
    return f"in a fresh process its check says: {' '.join(outcome.message.split())}"


def main(words: list[str]) -> None:
    """Prove what waits for the exercises named, or with `--parts` their parts."""
    os.environ["MOE_TEACH_MINE"] = "off"  # what runs here hands nothing over and waits for nobody
    ids = [word for word in words if word != "--parts"]
    for exercise in map(registry.find_exercise, ids):
        exercise.limit *= _MORE_TIME
        if "--parts" in words:
            part = parts.find(exercise)
            why = prove(exercise, part.text) if part else "it cannot be read."
            print(json.dumps([exercise.id, why]), flush=True)
        else:
            prove_waiting(exercise)


def prove_waiting(exercise: Exercise) -> None:
    """Prove what waits for an exercise; it becomes the part, or the reason why not is kept."""
    try:
        text = waiting.file_of(exercise).read_text(encoding="utf-8")
    except FileNotFoundError:
        return  # another process was sooner
    why = prove(exercise, text)
    if why:
        waiting.turn_down(exercise, text, why)
    else:
        waiting.accept(exercise, text)


if __name__ == "__main__":
    main(sys.argv[1:])
