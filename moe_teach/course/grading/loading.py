"""Which cells an exercise needs: its own, what it names, and helpers that need no other answer."""

import ast
from dataclasses import dataclass, field
from typing import Any

from moe_teach.course import materials, registry
from moe_teach.course.grading.record import AnswerCell, Answers
from moe_teach.course.learner.mine.statements import Program
from moe_teach.judging.exercise import Exercise


@dataclass(frozen=True)
class Step:
    """One cell to be loaded: its place, what it is called in messages, whether it is judged."""

    index: int
    source: str
    label: str
    exercise: str
    is_own: bool


@dataclass
class Plan:
    """The cells to load for one exercise, in order; and where its parts come from."""

    steps: list[Step]
    flags: tuple[str, ...]
    chapter: int
    given: set[str]

    def part(self, item_id: Any) -> tuple[str, list[str]]:
        """Say what `mine(...)` is: the name of an answer, and the course's cells if it is ours."""
        exercise = registry.find_exercise(item_id)
        own = {step.exercise for step in self.steps}
        if item_id in own and item_id not in self.given:
            return exercise.name, []
        if exercise.chapter == self.chapter and item_id not in self.given:
            raise registry.UnknownId(f"{item_id} is not among the cells that were loaded.")
        cells = materials.cells_of(exercise.chapter)
        sources = [
            materials.without_markers(source)
            for role, item, source in cells
            if role == "code" or (role == "solution" and item)
        ]
        return exercise.name, sources


@dataclass
class Cells:
    """The cells of a submission, and what each binds and reads."""

    answers: Answers
    dropped: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._in_vain: list[Step] = []
        self._names = [_names(cell) for cell in self.answers.cells]
        self._own: dict[str, int] = {}
        for index, cell in enumerate(self.answers.cells):
            if cell.exercise:
                self._own[cell.exercise] = index  # of two, the last

    def has(self, exercise: str) -> bool:
        """Tell whether the submission has a cell for an exercise."""
        return exercise in self._own

    def drop(self, step: Step) -> None:
        """Load a cell no more: it broke, or broke the worker."""
        self.dropped.add(step.index)
        self._in_vain.append(step)  # the course's own must not be tried for ever either

    def plan(self, exercise: Exercise, broken: set[str]) -> Plan:
        """Choose the cells for one exercise.

        Answers of the same submission that it builds on come along; where one of them is broken,
        the course's own takes its place, and a flag says so.
        """
        own = self._own[exercise.id]
        needed = self._closure(exercise, own)
        given = {
            item
            for item in needed
            if item != exercise.id and (item in broken or self._own.get(item) in self.dropped)
        }
        given |= {item for item in exercise.needs if item.split(".")[0] == exercise.id.split(".")[0]
                  and item not in self._own}  # fmt: skip
        steps = [
            step
            for index in range(len(self.answers.cells))
            if (step := self._step(index, exercise, needed, given))
        ]
        flags = (f"given earlier parts: {', '.join(sorted(given))}",) if given else ()
        return Plan(steps, flags, self.answers.chapter, given)

    def _step(
        self, index: int, exercise: Exercise, needed: set[str], given: set[str]
    ) -> Step | None:
        item, is_own = self.answers.cells[index].exercise, index == self._own[exercise.id]
        if item and self._own[item] != index:
            return None  # a later cell takes its place
        if item in given:
            step = _of_course(index, item)
            return None if step in self._in_vain else step
        if index in self.dropped or not (item in needed or self._is_free(index, needed)):
            return None
        label = exercise.name if is_own else f"cell {index + 1}"
        return Step(index, self.answers.cells[index].source, label, item, is_own)

    def _closure(self, exercise: Exercise, own: int) -> set[str]:
        """List the exercises whose cells must be there, the asked one included."""
        wanted, waiting = {exercise.id}, [own]
        waiting += [self._own[item] for item in exercise.needs if item in self._own]
        seen: set[int] = set()
        while waiting:
            index = waiting.pop()
            if index in seen:
                continue
            seen.add(index)
            cell = self.answers.cells[index]
            wanted |= {cell.exercise} - {""}
            _binds, reads, ids = self._names[index]
            waiting += [self._own[item] for item in ids if item in self._own]
            for other, (made, _, _) in enumerate(self._names):
                if other != index and made & reads:
                    waiting.append(other)
        return wanted

    def _is_free(self, index: int, needed: set[str]) -> bool:
        """Tell whether this is a helper that needs no answer but those that are loaded anyway."""
        if self.answers.cells[index].exercise:
            return False
        _, reads, ids = self._names[index]
        for other, cell in enumerate(self.answers.cells):
            is_left_out = cell.exercise and cell.exercise not in needed
            if is_left_out and (self._names[other][0] & reads or cell.exercise in ids):
                return False
        return True


def _of_course(index: int, item: str) -> Step:
    exercise = registry.find_exercise(item)
    source = materials.without_markers(materials.solution_cell(exercise))
    return Step(index, source, f"the course's {exercise.name}", item, False)


def _names(cell: AnswerCell) -> tuple[set[str], set[str], set[str]]:
    """Give the names that a cell binds, those that it reads, and the exercises that it names."""
    statements = Program({}, (cell.source,), 0).statements
    binds = {name for statement in statements for name in statement.binds}
    reads = {name for s in statements for name in s.now | s.later} - binds
    ids = {
        node.value
        for statement in statements
        for node in ast.walk(statement.node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return binds, reads, {text for text in ids if text.count(".") == 1 and len(text) < 7}
