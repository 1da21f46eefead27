"""What there is to do: every exercise with its state, chapter by chapter, and the next one."""

from moe_teach.course import registry
from moe_teach.course.learner import desk, overview
from moe_teach.course.learner import progress_file as ledger
from moe_teach.judging.exercise import Exercise
from moe_teach.text_table import aligned


def listing(done: ledger.Progress, chapter: int | None = None) -> str:
    """List the exercises under their chapters, or those of one.

    Raises:
        registry.UnknownId: there is no such chapter.
    """
    blocks = []
    for number in registry.chapters() if chapter is None else [chapter]:
        exercises = exercises_of(number)
        passed = sum(done.of(item.id).state == "passed" for item in exercises)
        head = f"{number:02d} {overview.title_of(number)}: {passed} of {len(exercises)} passed"
        rows = [
            (" ", item.id, done.of(item.id).state, f"{item.minutes} min", item.title)
            for item in exercises
        ]
        blocks.append(f"{head}\n{aligned(rows[0], rows[1:])}")
    return "\n\n".join(blocks)


def following(done: ledger.Progress) -> str:
    """Name the next exercise that has not passed, where it lies and what helps."""
    item = next((i for n in registry.chapters() for i in _open_of(n, done)), None)
    if item is None:
        return "Every exercise has passed. `moe-teach mine` lists what you made."
    return "\n".join(
        [
            f'Next: {item.id} "{item.title}", about {item.minutes} minutes, '
            f"difficulty {item.difficulty} of 5.",
            _where(item),
            f"Stuck? moe-teach hint {item.id}",
        ]
    )


def exercises_of(chapter: int) -> list[Exercise]:
    """Give the exercises of a chapter, in order."""
    return [item for item in registry.load(chapter).values() if isinstance(item, Exercise)]


def _open_of(chapter: int, done: ledger.Progress) -> list[Exercise]:
    return [item for item in exercises_of(chapter) if done.of(item.id).state != "passed"]


def _where(item: Exercise) -> str:
    file = f"{registry.chapters()[item.chapter]}.ipynb"
    own = desk.place()
    if own is None:
        return (
            f"It is in exercises/{file}. Your copy is not laid out yet: type "
            "`moe-teach start FOLDER`, with the name of a new folder."
        )
    return (
        f'It is in {own / "exercises" / file}, under "Exercise {item.id}"; '
        f"the lesson before it is {own / 'notebooks' / file}."
    )
