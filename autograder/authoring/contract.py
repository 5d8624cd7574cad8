"""The contract of tests: what a student wrote is used through calls and plain values.

So no object of the student's answers a question of the test's, and a test can run in another
process than what it tests. The rule follows names through a test cell: what a task's function gives
is the student's until `check.answer`, `check.plain` and the like make it plain. It sees what stands
in the cell, and takes helpers of the notebook's at their word.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from autograder import notebook as nb_
from autograder.authoring.text import Text
from autograder.course import Course
from autograder.errors import Problem

REACHING_IN = ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook")
# What `check` offers that takes a function, which may be a method.
TAKE_FUNCTIONS = ("answer", "gradient_of", "lines_run", "raises")
# Builtins that hand on what they get, to a call or a check.
CARRIERS = ("dict", "enumerate", "list", "tuple", "zip")


def contract(text: Text, course: Course) -> Iterator[Problem]:
    """Tests ask nothing of what the student's code gave before it is plain."""
    solutions = [cell for cell in text.cells if cell.kind == "solution"]
    theirs = {name for cell in solutions for name in _bound(nb_.parsed(cell.source))}
    worked = {
        node.name
        for cell in text.cells
        if cell.kind == "code"
        for node in nb_.parsed(cell.source).body
        if isinstance(node, ast.FunctionDef)
    }
    for test in text.tests.values():
        tree = nb_.parsed(test.source)
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for line, what in sorted(_Walk(theirs, worked | own).problems(tree)):
            message = (
                f"line {line} of the test asks `{what}` of what the student's code gave: make it "
                "plain first (check.answer, check.plain, check.attribute)"
            )
            yield Problem(text.file, test.place, "contract", message)


def _bound(tree: ast.Module) -> set[str]:
    """The functions and classes that a solution defines, and its top level's variables."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    names = {node.name for node in tree.body if isinstance(node, kinds)}
    stored = (n for node in tree.body for n in ast.walk(node) if isinstance(node, ast.Assign))
    return names | {n.id for n in stored if isinstance(n, ast.Name) and _is_stored(n)}


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


class _Walk:
    """Goes through a test. theirs: the student's names; helpers: functions that may take them.

    foreign: variables that hold what a student's code gave. held: those of the test's own that hold
    such things, as a list of layers does. methods: attributes that are called, or handed on.
    """

    def __init__(self, theirs: set[str], helpers: set[str]) -> None:
        self.theirs, self.helpers = theirs, helpers
        self.foreign: set[str] = set()
        self.held: set[str] = set()
        self.methods: set[int] = set()

    def problems(self, tree: ast.Module) -> set[tuple[int, str]]:
        """The places that ask something: (line, what)."""
        for _ in range(3):  # until what loops hand back has been seen
            for node in ast.walk(tree):
                self._note(node)
        found = set()
        for node in ast.walk(tree):
            if asked := self._asked(node):
                found.add((asked.lineno, ast.unparse(asked)[:80]))
        return found

    def _note(self, node: ast.AST) -> None:
        """Which variables hold something of the student's after a statement."""
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                self._hold(target, node.value)
        elif isinstance(node, ast.For | ast.comprehension) and self._holds(node.iter):
            self.foreign |= _names(node.target) - self._plain_parts(node)

    def _plain_parts(self, node: ast.For | ast.comprehension) -> set[str]:
        """Of `for a, b in zip(x, y)` the names that stand for the test's own."""
        call, target = node.iter, node.target
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            return set()
        if call.func.id == "enumerate" and isinstance(target, ast.Tuple):
            return _names(target.elts[0])
        if call.func.id == "zip" and isinstance(target, ast.Tuple):
            pairs = zip(target.elts, call.args, strict=False)
            return {n for part, one in pairs if not self._holds(one) for n in _names(part)}
        return set()

    def _hold(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, part in zip(target.elts, value.elts, strict=False):
                self._hold(one, part)
        elif self._is_foreign(value):
            self.foreign |= _names(target)
        elif self._holds(value):
            (self.foreign if isinstance(target, ast.Tuple) else self.held).update(_names(target))

    def _is_foreign(self, node: ast.expr) -> bool:
        """Whether an expression is what the student's code gave."""
        if isinstance(node, ast.Name):
            return node.id in self.foreign
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name):
                if function.id in self.theirs or function.id in self.foreign:
                    return True
                given = [*node.args, *(k.value for k in node.keywords)]
                return function.id in self.helpers and any(self._is_theirs(a) for a in given)
            return isinstance(function, ast.Attribute) and self._is_foreign(function.value)
        if isinstance(node, ast.Subscript):
            return self._holds(node.value)
        return isinstance(node, ast.Starred) and self._is_foreign(node.value)

    def _is_theirs(self, node: ast.expr) -> bool:
        named = isinstance(node, ast.Name) and node.id in self.theirs
        return named or self._is_foreign(node) or self._holds(node)

    def _holds(self, node: ast.expr) -> bool:
        """Whether an expression is a container of the test's with such things in it."""
        if isinstance(node, ast.Name):
            return node.id in self.held
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return any(self._is_theirs(one) for one in node.elts)
        if isinstance(node, ast.Dict):
            return any(self._is_theirs(one) for one in node.values)
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
            return self._is_theirs(node.elt)
        if isinstance(node, ast.BinOp):
            return self._holds(node.left) or self._holds(node.right)
        if isinstance(node, ast.Subscript):
            return isinstance(node.slice, ast.Slice) and self._holds(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return node.func.id in CARRIERS and any(self._is_theirs(a) for a in node.args)
        return False

    def _asked(self, node: ast.AST) -> ast.expr | None:
        """The question that a node asks of something of the student's, if it asks one."""
        if isinstance(node, ast.Call):
            return self._asked_by_call(node)
        if isinstance(node, ast.Attribute) and self._is_foreign(node.value):
            return node if node.attr in REACHING_IN or id(node) not in self.methods else None
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
        elif isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.BoolOp):
            parts = list(node.values)
        elif isinstance(node, ast.UnaryOp):
            parts = [node.operand]
        elif isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            parts = [node.test]
        elif isinstance(node, ast.For | ast.comprehension):
            parts = [node.iter]
        elif isinstance(node, ast.Subscript | ast.FormattedValue):
            parts = [node.value]
        whole = node if isinstance(node, ast.expr) and hasattr(node, "lineno") else None
        asked = next((p for p in parts if p is not None and self._is_foreign(p)), None)
        return asked and (whole or asked)

    def _asked_by_call(self, node: ast.Call) -> ast.expr | None:
        given = [*node.args, *(k.value for k in node.keywords)]
        function = node.func
        if isinstance(function, ast.Attribute):
            if self._is_foreign(function.value):
                self.methods.add(id(function))
                return node if function.attr in REACHING_IN else None
            root = function.value
            if (
                isinstance(root, ast.Name)
                and root.id == "check"
                and function.attr in TAKE_FUNCTIONS
            ):
                self.methods |= {id(a) for a in given if isinstance(a, ast.Attribute)}
                return None
            if isinstance(root, ast.Name) and root.id == "check":
                return None
        elif isinstance(function, ast.Name) and (
            function.id in self.theirs | self.foreign | self.helpers or function.id in CARRIERS
        ):
            return next((node for a in given if self._carried(function.id, a)), None)
        return node if any(self._is_foreign(a) for a in given) else None

    def _carried(self, function: str, given: ast.expr) -> bool:
        """`list(x)` of what is the student's runs through it."""
        return function in CARRIERS and self._is_foreign(given)


def _names(target: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
