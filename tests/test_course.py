"""course.toml: what a whole one gives, and every rule broken by one small edit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from kit.rules import NOTEBOOK, TINY, WEEK, copy_tiny, edit, rules_in, rules_of

from autograder import course as course_
from autograder.errors import CourseError

REPOSITORY = Path(__file__).parents[1]
SECOND = """
[[week]]
folder = "{}"
title = {{ en = "Second", ru = "Вторая" }}
points = 0
notebook = []
"""


def files(*tables: str) -> str:
    """The notebook's tier, and under it these files."""
    return f'tier = "cpu"\nfiles = [{", ".join(tables)}]'


TIER = 'tier = "cpu"'
NET = '{ name = "net.bin", megabytes = 3 }'
FILES = "week[0].notebook[0].files"

# rule, place, old, new
CASES = [
    ("toml", "", 'name = "Tiny course"', 'name = "Tiny course'),
    ("toml", "", "[course]", "[course"),
    ("missing", "course.name", 'name = "Tiny course"\n', ""),
    ("missing", "course.languages", 'languages = ["en", "ru"]\n', ""),
    ("missing", "week[0].notebook[0].name", 'name = "tiny"\n', ""),
    ("missing", "week[0].folder", f'folder = "{WEEK}"\n', ""),
    ("type", "course.version", 'version = "1"', "version = 1"),
    ("type", "course.languages", 'languages = ["en", "ru"]', 'languages = "en"'),
    ("type", "week[0].title.ru", 'ru = "Малая"', "ru = 5"),
    ("type", "week[0].notebook[0].excluded", 'tier = "cpu"', 'tier = "cpu"\nexcluded = true'),
    ("language", "course.languages", '["en", "ru"]', '["en", "ru", "Esperanto"]'),
    ("language", "course.languages", '["en", "ru"]', "[]"),
    ("language", "week[0].title", ', ru = "Малая"', ""),
    ("name", "week[0].folder", f'"{WEEK}"', '"first week"'),
    ("name", "week[0].notebook[0].name", 'name = "tiny"', 'name = "../tiny"'),
    ("points", "week[0].points", "points = 3\n", "points = 4\n"),
    ("points", "week[0].notebook[0].bonus", "bonus = 1", "bonus = -1"),
    ("points", "week[0].notebook[0].bonus", "bonus = 1", 'bonus = "1"'),
    ("points", "week[0].notebook[0].bonus", "bonus = 1", "bonus = nan"),
    ("points", "week[0].notebook[0].bonus", "bonus = 1", "bonus = true"),
    ("tier", "week[0].notebook[0]", 'tier = "cpu"', ""),
    ("tier", "week[0].notebook[0].tier", 'tier = "cpu"', 'tier = "tpu"'),
    ("tier", "week[0].notebook[0]", 'tier = "cpu"', 'tier = "cpu"\nexcluded = "too slow"'),
    ("unknown-key", "course.owner", "[course]", '[course]\nowner = "someone"'),
    ("unknown-key", "week[0].bonus", "points = 3\n", "points = 3\nbonus = 1\n"),
    ("unknown-key", "deadline", "[course]", "deadline = 1\n[course]"),
    ("duplicate", "course.languages", '["en", "ru"]', '["en", "ru", "ru"]'),
    ("duplicate", "week", "", SECOND.format(WEEK)),
    ("duplicate", "week", "", SECOND.format("week01_again")),
    (
        "duplicate",
        "week[0].notebook",
        "[[week.notebook]]",
        '[[week.notebook]]\nname = "tiny"\npoints = 0\ntier = "gpu"\n\n[[week.notebook]]',
    ),
    ("type", FILES, TIER, f'{TIER}\nfiles = "net.bin"'),
    ("type", f"{FILES}[0]", TIER, files('"net.bin"')),
    ("type", f"{FILES}[1].name", TIER, files(NET, "{ name = 3, megabytes = 3 }")),
    ("missing", f"{FILES}[0].name", TIER, files("{ megabytes = 3 }")),
    ("unknown-key", f"{FILES}[0].kilobytes", TIER, files(NET.replace("}", ", kilobytes = 1 }"))),
    *[
        ("name", f"{FILES}[0].name", TIER, files(NET.replace("net.bin", name)))
        for name in ("", "a/net.bin", "..", ".net", "-net", "net bin", "сеть.bin", "n" * 65)
    ],
    *[
        ("name", f"{FILES}[0].name", TIER, files(NET.replace("net.bin", name)))
        for name in ("other.ipynb", "other.IPYNB.txt", "torch.py", "torch.PY")
    ],
    ("size", f"{FILES}[0].megabytes", TIER, files('{ name = "net.bin" }')),
    *[
        ("size", f"{FILES}[0].megabytes", TIER, files(NET.replace("3", size)))
        for size in ("0", "-1", "200.1", "nan", "inf", "true", '"3"', "[]", "9" * 400)
    ],
    ("duplicate", "week[0].notebook.files", TIER, files(NET, NET.replace("net", "NET"))),
]
# Rules about the file itself or the command's words have their own tests below.
OTHER = {"course-file", "unknown-week", "not-built"}


def broken(root: Path, old: str, new: str) -> CourseError:
    path = root / "course.toml"
    content = path.read_text(encoding="utf-8")
    assert old in content
    content = content.replace(old, new, 1) if old else content + new
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CourseError) as caught:
        course_.load(root)
    return caught.value


@pytest.mark.parametrize(("rule", "place", "old", "new"), CASES)
def test_each_rule_is_broken_alone(
    tmp_path: Path, rule: str, place: str, old: str, new: str
) -> None:
    error = broken(copy_tiny(tmp_path / "course"), old, new)
    assert rules_of(error.problems) == {rule}
    assert [p.place for p in error.problems] == [place]
    assert all(p.file == "course.toml" and p.message for p in error.problems)


def test_every_rule_has_a_case() -> None:
    assert rules_in(course_) == {case[0] for case in CASES} | OTHER


def test_submitted_files_become_values(tmp_path: Path) -> None:
    root = edit(copy_tiny(tmp_path / "course"), ("course.toml", TIER, files(NET)))
    week = course_.load(root).weeks[0]
    assert week.files == week.notebooks[0].files == (course_.SubmittedFile("net.bin", 3),)
    assert week.files[0].maximum == 3_000_000
    assert course_.load(TINY).weeks[0].files == ()


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    edit(root, ("course.toml", 'version = "1"', "version = 1\nowner = 2"))
    error = broken(root, "points = 3\n", "points = 4\n")
    assert rules_of(error.problems) == {"type", "unknown-key", "points"}
    assert str(error).count("\n") == 2


def test_a_folder_without_a_schedule_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"course-file.*--root FOLDER"):
        course_.load(tmp_path)
    (tmp_path / "course.toml").mkdir()
    with pytest.raises(CourseError, match=r"course-file.*can't be read"):
        course_.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"\0", b"", b"week = 3\ncourse = []\n", b"a = " + b"[" * 5000]
)
def test_what_is_no_schedule_gives_problems(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "course.toml").write_bytes(content)
    with pytest.raises(CourseError):
        course_.load(tmp_path)


def test_tables_of_any_kind_give_problems(tmp_path: Path) -> None:
    """Whatever value stands at whatever key: problems or a course, never another error."""
    values = ["3", "true", '"x"', "[]", "[3]", "[[]]", "{}", "{ a = 1 }", "nan", "1979-05-27"]
    lines = (TINY / "course.toml").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        for value in values:
            if " = " not in line:
                continue
            changed = copy.copy(lines)
            changed[number] = f"{line.split(' = ')[0]} = {value}"
            (tmp_path / "course.toml").write_text("\n".join(changed), encoding="utf-8")
            try:
                course_.load(tmp_path)
            except CourseError as error:
                assert all(p.place for p in error.problems)


def test_a_windows_editors_file_is_read(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    path = root / "course.toml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert course_.load(root).name == "Tiny course"


def test_a_whole_one_becomes_values() -> None:
    course = course_.load(TINY)
    (week,) = course.weeks
    (entry,) = week.notebooks
    assert (course.name, course.version, course.languages) == ("Tiny course", "1", ("en", "ru"))
    assert (week.folder, week.points, week.title["ru"]) == (WEEK, 3, "Малая")
    assert (entry.name, entry.points, entry.bonus, entry.tier) == ("tiny", 3, 1, "cpu")
    assert week.notebook("tiny") is entry and week.notebook("other") is None
    assert course_.load(REPOSITORY).weeks


@pytest.mark.parametrize("name", [WEEK, "week01", "1", "01", "001"])
def test_a_week_has_several_names(name: str) -> None:
    course = course_.load(TINY)
    assert course.select([name, WEEK]) == course.weeks == course.select([])


@pytest.mark.parametrize("name", ["week02", "2", "week1", "tiny", "", "0", "²", "9" * 5000, "-1"])
def test_another_name_is_an_unknown_week(name: str) -> None:
    with pytest.raises(CourseError) as caught:
        course_.load(TINY).select([name, "week77"])
    assert rules_of(caught.value.problems) == {"unknown-week"}
    assert len(caught.value.problems) == 2 and WEEK in str(caught.value)


def test_the_root_is_the_nearest_folder_with_a_schedule(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    assert course_.find_root((root / NOTEBOOK).parent) == root
    assert course_.find_root(tmp_path) == tmp_path


def test_notebooks_that_are_not_built_are_told(tmp_path: Path) -> None:
    course = course_.load(copy_tiny(tmp_path / "course"))
    with pytest.raises(CourseError, match=r"source/.*tiny.ipynb: \[not-built\]"):
        course_.notebooks_of(course, course.weeks, "source")
    path = tmp_path / "course" / "source" / WEEK / "tiny.ipynb"
    edit(course.root, (str(path), None, "{}"))
    assert course_.notebooks_of(course, course.weeks, "source") == [path]


def test_an_excluded_notebook_is_left_out_where_asked(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    course = course_.load(edit(root, ("course.toml", 'tier = "cpu"', 'excluded = "too slow"')))
    assert course.weeks[0].notebooks[0].excluded == "too slow"
    assert course_.notebooks_of(course, course.weeks, "source", excluded=False) == []
