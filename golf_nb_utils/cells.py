"""Cells in any order: a cell that would read something out of date is not run; it says which cells
to run first.

Jupyter runs whichever cell somebody clicks. When `config` has changed, `batches` are still those of
the old one, and a cell that trains with them and notes the new `config` beside the result is wrong
without a word. So `watch` remembers of every name that a cell makes from which values it was made.

It sees assignments, also to an entry of a list or dict, and not what a function changes in place:
whoever trains a model in place compares its weights (training.loop).
"""

import ast
import dis
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

SIMPLE = (str, bytes, int, float, bool, type(None), Path)
SHARED = (ModuleType, FunctionType, BuiltinFunctionType, type)
"""What an import binds: the same object again, however often it is run."""

Read = tuple[str, str]
"""A name, and the attribute of it that is read; "" for all of it."""


def watch(parameters: Iterable[str]) -> None:
    """Watch the cells of this kernel from here on; where there is no IPython, do nothing.

    `parameters` are the names for which a cell that reads `globals()` looks there.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell and not any(isinstance(one, _Watch) for one in shell.ast_transformers):
        watching = _Watch(shell, frozenset(parameters))
        with suppress(SyntaxError):
            watching.visit(ast.parse(shell.user_ns["In"][-1]))  # the cell that calls this
        shell.ast_transformers.append(watching)
        shell.events.register("post_run_cell", watching.after)


@dataclass(frozen=True)
class _Statement:
    """What a statement at the top of a cell reads, which names it binds, and which it changes."""

    reads: frozenset[Read]
    bound: frozenset[str]
    changed: frozenset[str]

    @classmethod
    def of(cls, node: ast.stmt) -> "_Statement":
        # By the compiled code, in which a comprehension's own variables are no globals.
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        reads, bound = set(), set()
        codes = [compile(ast.Module([node], []), "cell", "exec", flags, dont_inherit=True)]
        while codes:
            code = codes.pop()
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
            found = list(dis.get_instructions(code))
            for one, following in zip(found, [*found[1:], found[-1]], strict=True):
                if one.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                    is_part = following.opname in ("LOAD_ATTR", "LOAD_METHOD")
                    reads.add((one.argval, following.argval if is_part else ""))
                elif one.opname in ("STORE_NAME", "STORE_GLOBAL"):
                    bound.add(one.argval)
        return cls(frozenset(reads), frozenset(bound), frozenset(_changed_in_place(node)))


def _changed_in_place(node: ast.stmt) -> set[str]:
    """The names of which `node` sets an entry or an attribute, or calls a method for its effect."""
    places = []
    for part in ast.walk(node):
        if isinstance(part, ast.Assign):
            places += part.targets
        elif isinstance(part, ast.AugAssign):
            places.append(part.target)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            places.append(part.value.func)
    names = set()
    for place in places:
        inner = place
        while isinstance(inner, ast.Attribute | ast.Subscript):
            inner = inner.value
        if isinstance(inner, ast.Name) and inner is not place:
            names.add(inner.id)
    return names


@dataclass
class _Made:
    """Which cell made a name, and what those values were that it was made from."""

    cell: int
    reads: dict[Read, object]


class _Watch:
    """The names of a kernel's cells, and what each was made from."""

    def __init__(self, shell, parameters: frozenset[str]):
        self.names = shell.user_ns
        self.parameters = frozenset((name, "") for name in parameters)
        self.made: dict[str, _Made] = {}
        self.versions: dict[str, int] = {}
        self.running: tuple[list[_Statement], dict[str, object], dict[str, int]] | None = None

    def visit(self, tree: ast.Module) -> ast.Module:
        """Refuse a cell that reads something out of date; IPython calls this before it runs one."""
        statements = [_Statement.of(node) for node in tree.body]
        self.running, own = None, set()
        for statement in statements:
            own |= statement.bound
            self._refuse_outdated({name for name, _ in statement.reads} - own)
        before = {name: self.names[name] for name in own & set(self.names)}
        kept = {
            # A dict may be changed in place, and would be compared with itself.
            name: dict(value) if type(value) is dict else value
            for name, value in before.items()
            if _is_kept(value)
        }
        places = {name: id(value) for name, value in before.items()}
        self.running = statements, kept, places
        return tree

    def _refuse_outdated(self, names: set[str]) -> None:
        reasons: dict[str, str] = {}
        for name in sorted(names):
            self._reason(name, reasons)
        outdated = [name for name, reason in reasons.items() if reason]
        if outdated:
            cells: dict[int, list[str]] = {}
            for name in outdated:
                cells.setdefault(self.made[name].cell, []).append(name)
            which = ", ".join(f"[{cell}] ({', '.join(made)})" for cell, made in cells.items())
            name = next(name for name in outdated if name in names)
            raise _out_of_date(
                f"`{name}` was made before `{reasons[name]}` was made again; run these cells, and "
                f"then this one: {which}."
            )

    def _reason(self, name: str, reasons: dict[str, str]) -> str:
        """What a name was made from, directly or not, that is another now; "" if nothing is.

        `reasons` gets that of every name that it was made from, and then its own.
        """
        if name in reasons or name not in self.made:
            return reasons.get(name, "")
        reasons[name] = found = ""  # for names that were made from each other
        for read, value in self.made[name].reads.items():
            deeper = self._reason(read[0], reasons)
            if deeper or self._now(read) != value:
                found = read[0]
        del reasons[name]
        reasons[name] = found
        return found

    def _now(self, read: Read) -> object:
        """What tells one value from the next: a setting itself, else how often it was made."""
        name, attribute = read
        owner = self.names.get(name)
        if _is_frozen(owner) and attribute in {field.name for field in fields(owner)}:
            part = getattr(owner, attribute)
            if isinstance(part, SIMPLE):
                return type(part), part
        return self.versions.get(name, 0)

    def after(self, result) -> None:
        """Note what the cell that has run made; IPython calls this."""
        if self.running is None:
            return
        statements, kept, places = self.running
        self.running = None
        sources: dict[str, set[Read]] = {}
        carried: set[str] = set()
        for statement in statements:
            # What was made in this cell stands for what it was made from.
            reads = set()
            for read in statement.reads:
                is_own = read[0] in statement.bound
                reads |= sources.get(read[0], set() if is_own else {read})
            if ("globals", "") in statement.reads:
                reads |= self.parameters
            in_place = {n for n in statement.changed if isinstance(self.names.get(n), list | dict)}
            carried |= in_place - set(sources)
            sources |= {name: sources.get(name, set()) | reads for name in in_place}
            sources |= dict.fromkeys(statement.bound, reads)
        there = [name for name in sources if name in self.names]
        if not result.success:
            # It has not come to all of its statements.
            there = [name for name in there if id(self.names[name]) != places.get(name)]
        for name in there:
            if name not in kept or not _is_same(kept[name], self.names[name]):
                self.versions[name] = self.versions.get(name, 0) + 1
        for name in there:
            earlier = self.made[name].reads if name in self.made and name in carried else {}
            now = {read: self._now(read) for read in sources[name]}
            self.made[name] = _Made(result.execution_count, earlier | now)


def _out_of_date(message: str) -> Exception:
    # Not above: the command line and the workers import the package without IPython.
    from IPython.core.error import InputRejected

    class OutOfDate(InputRejected):
        """A cell would read what was made from an earlier value."""

        def _render_traceback_(self) -> list[str]:
            return [f"OutOfDate: {self}"]

    return OutOfDate(message)


def _is_frozen(value: object) -> bool:
    return getattr(getattr(type(value), "__dataclass_params__", None), "frozen", False)


def _is_kept(value: object) -> bool:
    """Whether a value can be compared with what takes its place, and costs nothing to keep."""
    if type(value) is dict:
        return all(isinstance(one, SIMPLE) for one in value.values())
    return isinstance(value, SIMPLE + SHARED) or _is_frozen(value)


def _is_same(old: object, new: object) -> bool:
    try:
        return old is new or (type(old) is type(new) and bool(old == new))
    except (TypeError, ValueError, RuntimeError):  # of tensors, for example
        return False
