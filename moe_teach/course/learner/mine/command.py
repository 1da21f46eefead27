"""The verb `moe-teach mine`: the list of parts, and with --check their proof in a fresh process."""

import json
import subprocess

from moe_teach.course import registry
from moe_teach.course.learner.mine import page, waiting


def show() -> int:
    """Print whose answer there is to each exercise."""
    print(page.overview())
    return 0


def check() -> int:
    """Prove every part again, and what still waits, in one fresh process; 1 if any fails."""
    items = [entry.exercise for entry in page.entries()]
    for exercise in items:
        waiting.settle(exercise)
    ids = [entry.exercise.id for entry in page.entries() if entry.file != "-"]
    if not ids:
        print("You have no parts yet: pass a check, and its answer becomes yours.")
        return 0
    failed = 0
    for item_id, why in _proofs(ids):
        exercise = registry.find_exercise(item_id)
        failed += bool(why)
        print(f"{item_id:6} {exercise.name:26} {why or 'passes'}")
    return 1 if failed else 0


def _proofs(ids: list[str]) -> list[tuple[str, str]]:
    """Run the proofs; a process that dies on the way is said at the part it died of."""
    command = waiting.command("--parts", *ids)
    done = subprocess.run(command, env=waiting.environment(), stdout=subprocess.PIPE, text=True)
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
    if len(found) < len(ids):
        found.append((ids[len(found)], f"the fresh process ended with status {done.returncode}."))
    return found
