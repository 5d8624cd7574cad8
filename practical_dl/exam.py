"""What an exam takes over from a notebook: the grader runs it, and a notebook rehearses it."""

from __future__ import annotations

import ast
import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

# What a constant may call: it needs nothing of the notebook and does nothing to it.
_HARMLESS = (
    *("abs", "bool", "dict", "enumerate", "float", "frozenset", "int", "len", "list", "max", "min"),
    *("pow", "range", "reversed", "round", "set", "sorted", "str", "sum", "tuple", "zip"),
)
_CHANGING = (  # methods that change a value in place
    *("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove"),
    *("reverse", "setdefault", "sort", "update"),
)
_IMPORTS = (ast.Import, ast.ImportFrom)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


def definitions(sources: Iterable[str]) -> str:
    """The imports, functions, classes and constants of cells, as code that never fails.

    A constant is what is assigned without a call, but for such as `range` and `len`. What can't be
    defined where nothing else of the notebook has run is left out, and so is a name to which a
    statement that is left out gives another value later. A cell that is no Python has none.
    """
    code: list[str] = []
    kept: set[str] = set()
    for source in sources:
        for node in _statements(source):
            try:
                bound = set(_bound(node))
                if _is_kept(node):
                    handler = ast.ExceptHandler(ast.Name("Exception"), None, [ast.Pass()])
                    tried = ast.Try([node], [handler], [], [])
                    code.append(ast.unparse(ast.fix_missing_locations(tried)))
                    kept |= bound
                else:
                    code += [f"globals().pop({name!r}, None)" for name in sorted(kept & bound)]
                    kept -= bound
            except RecursionError:  # nested too deeply to look at
                continue
    return "\n".join(code)


def imported_as(alias: ast.alias) -> str:
    """The name that an import binds."""
    return alias.asname or alias.name.split(".")[0]


def rehearse(name: str, sources: Sequence[str], use: Callable[[Any], Any]) -> Any:
    """What `use` makes of the thing that an exam has under this name.

    sources: of the notebook's cells as they have run, without the tests. The last one that defines
    the name is the task's own, which runs as a whole. None where no cell defines it.
    Raises what the cell or `use` raise.
    """
    own = [i for i, source in enumerate(sources) if name in _defined(source)]
    if not own:
        return None
    others = [source for i, source in enumerate(sources) if i not in own]
    there: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(definitions(others), there)
        exec(_plain(sources[own[-1]]), there)
    return use(there[name])


def _plain(source: str) -> str:
    """A cell without the lines that are no Python."""
    lines = source.split("\n")
    return "\n".join("pass" if line[:1] in ("%", "!", "?") else line for line in lines)


def _statements(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(_plain(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _defined(source: str) -> set[str]:
    kinds = (*_NAMED, *_ASSIGNMENTS)
    nodes = (node for node in _statements(source) if isinstance(node, kinds))
    return {name for node in nodes for name in _bound(node)}


def _is_kept(node: ast.stmt) -> bool:
    if isinstance(node, ast.If):
        return _is_constant(node.test) and all(map(_is_kept, [*node.body, *node.orelse]))
    if isinstance(node, ast.Try):
        handled = [statement for handler in node.handlers for statement in handler.body]
        return all(map(_is_kept, [*node.body, *handled, *node.orelse, *node.finalbody]))
    if isinstance(node, _ASSIGNMENTS):
        return node.value is not None and _is_constant(node)
    return isinstance(node, (*_IMPORTS, *_NAMED, ast.Pass))


def _is_constant(node: ast.AST) -> bool:
    """Whether its evaluation calls nothing that could need, or change, the notebook."""
    if isinstance(node, ast.Lambda):  # its body runs later
        return True
    if isinstance(node, ast.Call):
        harmless = isinstance(node.func, ast.Name) and node.func.id in _HARMLESS
        return harmless and all(map(_is_constant, [*node.args, *node.keywords]))
    if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom):
        return False
    return all(map(_is_constant, ast.iter_child_nodes(node)))


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds, or whose values it changes in place."""
    if isinstance(node, _NAMED):
        yield node.name
        return
    if isinstance(node, _IMPORTS):
        yield from map(imported_as, node.names)
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.comprehension):  # its own variable is nobody else's
        node = ast.Tuple([node.iter, *node.ifs])
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        yield from _root(node.value)
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute) and function.attr in _CHANGING:
        yield from _root(function.value)
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _root(node: ast.AST) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
