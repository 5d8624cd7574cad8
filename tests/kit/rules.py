"""What the tests of rules share: small edits of the tiny course, the rules that the code names."""

from __future__ import annotations

import ast
import inspect
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

from autograder import course as course_
from autograder.authoring import build
from autograder.authoring.text import Text, parse
from autograder.course import Course
from autograder.errors import Problem
from practical_dl import data, models

TINY = Path(__file__).parents[1] / "fixtures" / "tiny"
WEEK = "week01_tiny"
WEEK_TOML = f"weeks/{WEEK}/week.toml"
REPOSITORY = Path(__file__).parents[2]
NOTEBOOK = f"weeks/{WEEK}/tiny.py"
SOURCE = (TINY / NOTEBOOK).read_text(encoding="utf-8")

Edit = tuple[str, str | None, str | None]  # file, old, new


def copy_tiny(folder: Path) -> Path:
    """The tiny course in a folder."""
    return shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns(".*_cache"))


def edit(root: Path, *edits: Edit) -> Path:
    """Change files of a course: old -> new, once. old None: write the file; new None: delete it."""
    for file, old, new in edits:
        path = root / file
        if new is None:
            path.unlink()
        elif old is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(new, encoding="utf-8")
        else:
            content = path.read_text(encoding="utf-8")
            assert old in content, f"{file} holds no {old!r}"
            path.write_text(content.replace(old, new, 1), encoding="utf-8")
    return root


def need_data(folder: str) -> None:
    """Skip, with the sentence on how to get it, where what a week loads can't be had."""
    (week,) = course_.load(REPOSITORY).select([folder])
    for name in week.models:
        try:
            models.load(name, quiet=True)
        except models.ModelError as error:
            pytest.skip(str(error))
    for name in week.data:
        if not data.is_cached(name):
            try:
                data.load(name, quiet=True)
            except data.DataError as error:
                pytest.skip(str(error))


def replaced(source: str, *changes: tuple[str, str]) -> str:
    """A text with the first of each old replaced by its new."""
    for old, new in changes:
        assert old in source, f"there is no {old!r}"
        source = source.replace(old, new, 1)
    return source


def tiny_text(*changes: tuple[str, str]) -> Text:
    """The tiny notebook, changed, without a problem of form."""
    text, problems = parse(replaced(SOURCE, *changes), WEEK, "tiny")
    assert not problems, problems
    return text


def tiny_course(root: Path = TINY) -> Course:
    """The tiny course."""
    return course_.load(root)


def tree_of(root: Path) -> dict[str, bytes]:
    """All files under a folder: path -> content."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def built(root: Path) -> Path:
    """Build a tiny course on disk, without a gradebook."""
    course = tiny_course(root)
    files = build.build_weeks(course, course.weeks)
    build.write(root, build.folders_of(course, course.weeks), files)
    return root


def rules_of(problems: Iterable[Problem]) -> set[str]:
    """The names of the rules that are broken."""
    return {p.rule if not p.rule.startswith("ruff-") else "ruff-CODE" for p in problems}


def rules_in(module: ModuleType) -> set[str]:
    """The names of the rules that a module can report, read off its code."""
    position = {"Problem": 2, "stop": 2, "add": 1}
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name == "report":  # report(rule, ...) and report(place, rule, ...)
            names = [a for a in node.args[:2] if isinstance(a, ast.Constant)][:1]
        else:
            names = node.args[position[name] :][:1] if name in position else []
        for one in names:
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                found.add(one.value)
            elif isinstance(one, ast.JoinedStr):
                found.add("ruff-CODE")
    return found
