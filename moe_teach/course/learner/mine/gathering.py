"""Gathers what an answer needs: the statements, backwards from its name, in the order they ran.

What a function reads when it is called has the value of today; what a statement read when it ran
(defaults, decorators, base classes) has the value of that moment. So a helper that was written
again, or a constant that changed after it became a default, is taken as it was used.
"""

import ast
import sys
import types
from typing import Any

from moe_teach.course.learner.mine import changes, held, origin, values
from moe_teach.course.learner.mine.found import Gathered, Refused
from moe_teach.course.learner.mine.imports import Import, by_its_own_name, imports_in, is_installed
from moe_teach.course.learner.mine.statements import (
    Notebook,
    Order,
    Program,
    Statement,
    notebook_of,
)

_OF_NOTEBOOK = 1000  # the rank of the notebook's own program: modules it imports come before
_RUNS_AGAIN = (ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith)


class Gathering:
    """Follows names through the programs that an answer touches."""

    def __init__(self, notebook: Notebook) -> None:
        self.found = Gathered()
        self.main = Program(notebook.namespace, notebook.cells, _OF_NOTEBOOK)
        self._programs = {id(notebook.namespace): self.main}
        self._asked: set[tuple[int, str]] = set()
        self._modules: dict[tuple[int, str], types.ModuleType] = {}
        self._last_imports: set[str] = set()  # names whose value of today is an import

    def program_of(self, namespace: dict[str, Any]) -> Program:
        """Give the program of a namespace: the notebook's, or that of a file beside it."""
        if id(namespace) not in self._programs:
            rank = _OF_NOTEBOOK - len(self._programs)
            cells = notebook_of(namespace).cells
            self._programs[id(namespace)] = Program(namespace, cells, rank)
        return self._programs[id(namespace)]

    def need(self, program: Program, name: str) -> None:
        """Take along what `name` stands for today."""
        if (program.rank, name) in self._asked or name not in program.namespace:
            return
        self._asked.add((program.rank, name))
        value = program.namespace[name]
        if self._imported(program, name, value):
            if any(one.name == name for one in self.found.imports):
                self._last_imports.add(name)
            return
        if isinstance(value, types.ModuleType):
            self._own_module(program, name, value)
        elif values.is_plain(value):
            self._plain(program, name, value)
        elif strange := values.alien(value):
            raise Refused(f"it needs `{name}`, {strange}: make it inside the function instead.")
        else:
            self._made(program, name, value)

    def need_before(self, program: Program, name: str, order: Order) -> None:
        """Take along what `name` stood for when the statement at `order` ran."""
        earlier = next(program.bindings(name, before=order), None)
        latest = next(program.bindings(name), None)
        if earlier is None or earlier is latest:
            self.need(program, name)
        elif not self._import_of(program, earlier, name):
            self.take(program, earlier)

    def take(self, program: Program, statement: Statement) -> None:
        """Take a statement along, with all it needs."""
        if statement.order in self.found.texts:
            return
        self.found.texts[statement.order] = statement.text
        self.found.statements.append((program, statement))
        for name in sorted(statement.binds):
            self._bind(program, name)
        for name in sorted(statement.now):
            self.need_before(program, name, statement.order)
        for name in sorted(statement.later):
            self.need(program, name)

    def finish(self) -> None:
        """Settle what only shows at the end: which things of the reader's own modules are used."""
        settled: dict[tuple[int, str], set[str]] = {}
        while True:
            used = {key: self._attributes_used(*key) for key in self._modules}
            if used == settled:
                break
            for key, names in used.items():
                for name in sorted(names):
                    self.need(self.program_of(vars(self._modules[key])), name)
            settled = used
        for name in sorted(self._last_imports & set(self.found.bound)):
            raise Refused(f"`{name}` is imported and also made by you: give one another name.")
        for (rank, name), names in settled.items():
            own = self.program_of(vars(self._modules[rank, name]))
            fields = ", ".join(f"{one}={one}" for one in sorted(names))
            self.found.texts[own.rank, 10**9, len(self.found.texts)] = (
                f"{name} = SimpleNamespace({fields})"
            )
            self.found.imports.add(Import("types", "SimpleNamespace", "SimpleNamespace"))

    def _bind(self, program: Program, name: str) -> None:
        if self.found.bound.setdefault(name, program.rank) != program.rank:
            raise Refused(
                f"`{name}` means one thing in the notebook and another in a module of yours: "
                "give one of them another name."
            )

    def _imported(self, program: Program, name: str, value: Any) -> bool:
        latest = next(program.bindings(name), None)
        if latest is not None and self._import_of(program, latest, name, value):
            return True
        is_own = origin.globals_of(value) is not None and not is_installed(
            str(getattr(value, "__module__", ""))
        )
        for statement in () if is_own else program.bindings(name):
            if self._import_of(program, statement, name, value):
                return True
        found = None if is_own else by_its_own_name(name, value)
        if found is not None and latest is None:
            self._add(program, found)
            return True
        return False

    def _import_of(self, program: Program, statement: Statement, name: str, *value: Any) -> bool:
        """Take `name` from an import in this statement, if there is one that gives `value`."""
        for found in imports_in(statement, name):
            got = found.value()
            if value and got is not value[0]:
                continue
            if path := changes.changed_member(program, name, got):
                raise Refused(f"the notebook changed `{path}`, which stays as it was elsewhere.")
            if is_installed(found.module):
                self._add(program, found)
            elif found.what and not isinstance(got, types.ModuleType):
                self._from_own_module(program, found)
            else:
                continue
            return True
        return False

    def _add(self, program: Program, found: Import) -> None:
        for other in self.found.imports:
            if other.name == found.name and other.value() is not found.value():
                raise Refused(f"two things are imported as `{found.name}`: give one another name.")
        self.found.imports.add(found)
        roots = found.module.partition(".")[0] == found.name and not found.what
        for statement in program.statements if roots else ():
            self.found.imports.update(imports_in(statement, found.name))

    def _from_own_module(self, program: Program, found: Import) -> None:
        own = self.program_of(vars(sys.modules[found.module]))
        self.need(own, found.what)
        if found.name != found.what:
            self._bind(program, found.name)
            order = (own.rank, 10**9, len(self.found.texts))
            self.found.texts[order] = f"{found.name} = {found.what}"

    def _own_module(self, program: Program, name: str, module: types.ModuleType) -> None:
        if not getattr(module, "__file__", None):
            raise Refused(f"it needs the module `{name}`, which has no file.")
        self._modules[program.rank, name] = module
        self._bind(program, name)

    def _attributes_used(self, rank: int, name: str) -> set[str]:
        used: set[str] = set()
        for program, statement in self.found.statements:
            if program.rank != rank:
                continue
            bases = {
                id(node.value): node.attr
                for node in ast.walk(statement.node)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            }
            for node in ast.walk(statement.node):
                if isinstance(node, ast.Name) and node.id == name:
                    if id(node) not in bases:
                        raise Refused(f"it hands on your whole module `{name}`: name what it uses.")
                    used.add(bases[id(node)])
        return used

    def _plain(self, program: Program, name: str, value: Any) -> None:
        statement = next(program.bindings(name), None)
        if statement is not None and changes.says(statement, program, name, value):
            self.take(program, statement)
            return
        writer = values.Writer()
        text = f"{name} = {writer.text(value)}"
        for module, what in writer.imports:
            self.found.imports.add(Import(module, what, what or module))
        order = statement.order if statement else (program.rank, -1, len(self._asked))
        self._bind(program, name)
        for needed in writer.names:
            self.need(program, needed)
            order = max(order, (program.rank, 10**8, 0))
        self.found.texts[*order, len(self._asked)] = text

    def _made(self, program: Program, name: str, value: Any) -> None:
        """Take the statement that made a function, a class or any other thing with a history."""
        self.demand_no_aliens(name, value)
        for statement in program.bindings(name):
            if imports_in(statement, name) or not origin.made(statement, name, value):
                continue
            if isinstance(statement.node, _RUNS_AGAIN):
                alone = origin.lifted_out(statement, name, value)
                if alone is None:
                    raise Refused(f"`{name}` is made in a loop or a `with`: define it on its own.")
                statement = alone
            self.take(program, statement)
            for touch in changes.touches(program, statement, name, value):
                self.take(program, touch)
            if type(value) in changes.MUTABLE:
                self._need_members(program, value)
            return
        found = self._outside_history(program, name, value)
        if found is None:
            raise Refused(f"the source of `{name}` is not to be found: define it in a cell.")
        self.take(program, found)

    def _outside_history(self, program: Program, name: str, value: Any) -> Statement | None:
        """Find a statement in the text that the code itself names, if it is not in the history."""
        code = origin.code_of(value)
        other = Program({}, (origin.source_of(code),), program.rank) if code else None
        for statement in other.bindings(name) if other else ():
            if origin.made(statement, name, value):
                order = (program.rank, -1, statement.order[2] + code.co_firstlineno)
                return Statement(**{**vars(statement), "order": order})
        return None

    def _need_members(self, program: Program, value: Any) -> None:
        for member in value.values() if isinstance(value, dict) else value:
            own = getattr(member, "__name__", "")
            if program.namespace.get(own) is member:
                self.need(program, own)

    def demand_no_aliens(self, name: str, value: Any) -> None:
        """Refuse what holds on to a thing of this session: in a closure, a partial, an object."""
        for what, one in held.held_by(value):
            if strange := values.alien(one):
                raise Refused(f"`{name}` holds on to {what}, {strange}: make it inside instead.")
