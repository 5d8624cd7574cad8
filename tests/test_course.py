"""course.toml: what a whole one gives, and every rule broken by one small edit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from kit.rules import NOTEBOOK, TINY, WEEK, WEEK_TOML, copy_tiny, edit, rules_in, rules_of

from autograder import course as course_
from autograder.errors import CourseError

REPOSITORY = Path(__file__).parents[1]
SECOND = 'title = { en = "Second", ru = "Вторая" }\npoints = 0\nnotebook = []\n'


def files(*tables: str) -> str:
    """The notebook's tier, and under it these files."""
    return f'tier = "cpu"\nfiles = [{", ".join(tables)}]'


TIER = 'tier = "cpu"'
TITLE = "title"
BEST = 'one_of = "best"\n'
GROUP = f'{BEST}\n[[notebook]]\nname = "other-one"\npoints = 2\ntier = "cpu"\n{BEST}'
NET = '{ name = "net.bin", megabytes = 3 }'
FILES = "notebook[0].files"

# rule, place, old, new
CASES = [
    ("toml", "", 'name = "Tiny course"', 'name = "Tiny course'),
    ("toml", "", "[course]", "[course"),
    ("missing", "course.name", 'name = "Tiny course"\n', ""),
    ("missing", "course.languages", 'languages = ["en", "ru"]\n', ""),
    ("missing", "notebook[0].name", 'name = "tiny"\n', ""),
    ("type", "course.version", 'version = "1"', "version = 1"),
    ("type", "course.languages", 'languages = ["en", "ru"]', 'languages = "en"'),
    ("type", "title.ru", 'ru = "Малая"', "ru = 5"),
    ("type", "notebook[0].excluded", 'tier = "cpu"', 'tier = "cpu"\nexcluded = true'),
    ("language", "course.languages", '["en", "ru"]', '["en", "ru", "Esperanto"]'),
    ("language", "course.languages", '["en", "ru"]', "[]"),
    ("language", "title", ', ru = "Малая"', ""),
    ("name", "notebook[0].name", 'name = "tiny"', 'name = "../tiny"'),
    ("points", "points", "points = 3\n", "points = 4\n"),
    ("points", "notebook[0].bonus", "bonus = 1", "bonus = -1"),
    ("points", "notebook[0].bonus", "bonus = 1", 'bonus = "1"'),
    ("points", "notebook[0].bonus", "bonus = 1", "bonus = nan"),
    ("points", "notebook[0].bonus", "bonus = 1", "bonus = true"),
    ("tier", "notebook[0]", 'tier = "cpu"', ""),
    ("tier", "notebook[0].tier", 'tier = "cpu"', 'tier = "tpu"'),
    ("tier", "notebook[0]", 'tier = "cpu"', 'tier = "cpu"\nexcluded = "too slow"'),
    ("unknown-key", "course.owner", "[course]", '[course]\nowner = "someone"'),
    ("unknown-key", "bonus", "points = 3\n", "points = 3\nbonus = 1\n"),
    ("unknown-key", "deadline", "[course]", "deadline = 1\n[course]"),
    ("unknown-key", "deadline", "points = 3", "deadline = 1\npoints = 3"),
    ("type", "data", TITLE, 'data = "digits"\ntitle'),
    ("type", "models", TITLE, "models = [3]\ntitle"),
    ("type", "release", TITLE, 'release = [""]\ntitle'),
    ("duplicate", "data", TITLE, 'data = ["digits", "digits"]\ntitle'),
    ("type", "notebook[0].required", 'tier = "cpu"', 'tier = "cpu"\nrequired = "yes"'),
    ("type", "notebook[0].one_of", 'tier = "cpu"', 'tier = "cpu"\none_of = 1'),
    ("group", "notebook.one_of", 'tier = "cpu"', 'tier = "cpu"\none_of = "best"'),
    ("group", "notebook.required", "", GROUP + "required = true\n"),
    ("duplicate", "course.languages", '["en", "ru"]', '["en", "ru", "ru"]'),
    (
        "duplicate",
        "notebook",
        "[[notebook]]",
        '[[notebook]]\nname = "tiny"\npoints = 0\ntier = "gpu"\n\n[[notebook]]',
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
    ("duplicate", "notebook.files", TIER, files(NET, NET.replace("net", "NET"))),
]
# Rules about the file itself or the command's words have their own tests below.
OTHER = {"course-file", "unknown-week", "not-built", "no-week"}


def broken(root: Path, old: str, new: str) -> CourseError:
    """The error of a course in which a file that holds `old` is changed, by default a week's."""
    for file in ("course.toml", WEEK_TOML):
        path = root / file
        content = path.read_text(encoding="utf-8")
        if old and old in content:
            break
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
    assert all(p.file in ("course.toml", WEEK_TOML) and p.message for p in error.problems)


def test_every_rule_has_a_case() -> None:
    assert rules_in(course_) == {case[0] for case in CASES} | OTHER


def test_two_weeks_have_two_numbers(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    edit(root, ("weeks/week01_zz/week.toml", None, SECOND))
    with pytest.raises(CourseError, match=rf"week01_zz/week.toml: \[duplicate\] {WEEK} has this"):
        course_.load(root)


@pytest.mark.parametrize("folder", ["first week", "week1_a", "Week01_a"])
def test_a_weeks_folder_has_a_number_and_a_topic(tmp_path: Path, folder: str) -> None:
    root = edit(copy_tiny(tmp_path / "course"), (f"weeks/{folder}/week.toml", None, SECOND))
    with pytest.raises(CourseError, match=rf"weeks/{folder}/week.toml: \[name\]"):
        course_.load(root)


def test_of_a_group_the_most_points_count(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    with (root / WEEK_TOML).open("a", encoding="utf-8") as end:
        end.write(GROUP)
    (week,) = course_.load(root).weeks
    assert week.points == 3 and [n.name for n in week.groups["best"]] == ["tiny", "other-one"]
    edit(root, (WEEK_TOML, "points = 3\n", "points = 5\n"))
    with pytest.raises(CourseError, match="the most of each group, add up to 3"):
        course_.load(root)


def test_a_course_that_lists_weeks_is_told_where_they_belong(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    with (root / "course.toml").open("a", encoding="utf-8") as end:
        end.write(f'\n[[week]]\nfolder = "{WEEK}"\n')
    with pytest.raises(CourseError, match=r"weeks/WEEK/week.toml"):
        course_.load(root)


def test_submitted_files_become_values(tmp_path: Path) -> None:
    root = edit(copy_tiny(tmp_path / "course"), (WEEK_TOML, TIER, files(NET)))
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
    root = copy_tiny(tmp_path / "course")
    for file in ("course.toml", WEEK_TOML):
        lines = (TINY / file).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            for value in values:
                if " = " not in line:
                    continue
                changed = copy.copy(lines)
                changed[number] = f"{line.split(' = ')[0]} = {value}"
                (root / file).write_text("\n".join(changed), encoding="utf-8")
                try:
                    course_.load(root)
                except CourseError as error:
                    assert all(p.place for p in error.problems)
        (root / file).write_text("\n".join(lines), encoding="utf-8")


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
    course = course_.load(edit(root, (WEEK_TOML, 'tier = "cpu"', 'excluded = "too slow"')))
    assert course.weeks[0].notebooks[0].excluded == "too slow"
    assert course_.notebooks_of(course, course.weeks, "source", excluded=False) == []
