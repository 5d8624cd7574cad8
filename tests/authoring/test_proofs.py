"""Receipts: what makes one stale and how far, what is kept of it, and which gates write none."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kit.rules import (
    NOTEBOOK,
    SOURCE,
    TINY,
    WEEK,
    WEEK_TOML,
    built,
    copy_tiny,
    edit,
    rules_of,
    tiny_course,
)

from autograder import fingerprints
from autograder.authoring import build, lint, mutants, proofs, tasks
from autograder.authoring.mutants import Proof, Variant
from autograder.authoring.proofs import Need, Outcome, Receipt
from autograder.authoring.text import Text
from autograder.course import Course, Week
from autograder.errors import CourseError, Problem
from autograder.execution.runall import RunReport
from autograder.fingerprints import HOUSE

TASKS = frozenset({"line", "distance", "double"})
PROOF = f"weeks/{WEEK}/proof.json"
PROOF_PATH = Path(PROOF)
HIDDEN = 'check.equal(double(-3.0), -6.0, "double(-3)", why="it is twice the number")'
PRINT = "# %%\nprint(line(np.arange(3.0), 2.0, 1.0))\n"


def first(root: Path) -> tuple[Course, Week, Text]:
    """The course in a folder, its week and its first notebook."""
    course = tiny_course(root)
    (week,) = course.weeks
    return course, week, build.texts_of(course, [week])[0]


def now(root: Path) -> Receipt:
    return proofs.current(*first(root))


# -- What makes a receipt stale, file by file -------------------------------------------------


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of both packages, with a week's module that is not there today."""
    root = tmp_path_factory.mktemp("house")
    for name in ("autograder", "practical_dl"):
        shutil.copytree(HOUSE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "practical_dl" / "weeks" / "week99.py").touch()
    return root


@pytest.fixture
def house(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That copy, where fingerprints are taken."""
    for name in ("library", "of", "sources"):
        taken = functools.partial(getattr(fingerprints, name), root=packages)
        monkeypatch.setattr(fingerprints, name, taken)
    return packages


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The tiny course, whose week loads the digits, releases a file and has a private.py."""
    return edit(
        copy_tiny(tmp_path / "course"),
        (WEEK_TOML, "points = 3", 'points = 3\ndata = ["digits"]\nrelease = ["*.csv"]'),
        (f"weeks/{WEEK}/table.csv", None, "1,2"),
        (f"weeks/{WEEK}/private.py", None, "X = 1\n"),
    )


def whole(*names: str) -> Need:
    return Need(frozenset(names), frozenset())


ALL = whole(*TASKS)
RUNS = whole()
AUTHORED = Need(frozenset(), TASKS)
WEEK_CHANGES: list[tuple[str, str, str | None, str | None, Need | None]] = [
    ("prose", NOTEBOOK, "# A line, and a distance.", "# A line, a distance.", None),
    ("Russian prose", NOTEBOOK, "# Прямая и расстояние.", "# Прямая.", None),
    ("minutes", NOTEBOOK, "minutes=5", "minutes=6", None),
    ("a README", f"weeks/{WEEK}/README.md", None, "# Other\n", None),
    ("a glossary", f"weeks/{WEEK}/glossary.md", None, "## Other\nWords.\n", None),
    ("a title", WEEK_TOML, 'ru = "Малая"', 'ru = "Другая"', None),
    ("a solution", NOTEBOOK, "Twice x.", "Two times x.", whole("double")),
    ("a hidden test", NOTEBOOK, HIDDEN, f"{HIDDEN}\npass", whole("double")),
    ("a public test", NOTEBOOK, '"double(2)"', '"double(2.0)"', whole("double")),
    ("a mutant", NOTEBOOK, "# + return 2 + x", "# + return 3 + x", whole("double")),
    ("why", NOTEBOOK, 'why="adds two"', 'why="adds"', whole("double")),
    ("an alternative", NOTEBOOK, "return x * a + b", "return b + x * a", whole("line")),
    ("an exam", NOTEBOOK, 'test="double" points=1', 'test="double" exam=true points=1', whole("double")),  # noqa: E501
    ("points", NOTEBOOK, "points=2", "points=3", RUNS),
    ("bonus", NOTEBOOK, " bonus=true", "", RUNS),
    ("a worked cell", NOTEBOOK, "np.arange(3.0)", "np.arange(4.0)", ALL),
    ("its tag", NOTEBOOK, PRINT, PRINT.replace("# %%", '# %% tags=["training"]'), ALL),
    ("private.py", f"weeks/{WEEK}/private.py", "1", "2", ALL),
    ("no private.py", f"weeks/{WEEK}/private.py", "", None, ALL),
    ("a released file", f"weeks/{WEEK}/table.csv", "1", "2", ALL),
    ("another one", f"weeks/{WEEK}/new.csv", None, "", ALL),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [case[1:] for case in WEEK_CHANGES],
    ids=[case[0] for case in WEEK_CHANGES],
)
def test_a_change_of_the_week(
    root: Path, file: str, old: str | None, new: str | None, expected: Need | None
) -> None:
    kept = now(root)
    edit(root, (file, old, new))
    assert proofs.need(now(root), kept) == expected


def test_a_worked_cell_that_moves(root: Path) -> None:
    kept = now(root)
    edit(root, (NOTEBOOK, PRINT, ""))
    text = (root / NOTEBOOK).read_text(encoding="utf-8")
    (root / NOTEBOOK).write_text(f"{text}\n{PRINT}", encoding="utf-8")
    assert proofs.need(now(root), kept) == ALL


def test_a_task_that_goes_or_comes(root: Path) -> None:
    kept = now(root)
    text = (root / NOTEBOOK).read_text(encoding="utf-8")
    head = text.partition('# %% solution="double"')[0]
    (root / NOTEBOOK).write_text(head, encoding="utf-8")
    less = now(root)
    assert proofs.need(less, kept) == whole("line", "distance")
    assert proofs.need(kept, less) == ALL


def library_changes(house: Path) -> Iterable[tuple[str, Need | None]]:
    """Each file of the packages, and what its change makes stale for a week with the digits."""
    data = {"digits", "_shipped", "cache"}
    passed = {"data": data, "weeks": {"week01"}, "models": set[str]()}
    for path in sorted(house.rglob("*.py")):
        name = path.relative_to(house).as_posix()
        package, *inner = Path(name).parts
        if package == "autograder":
            yield name, AUTHORED if name in proofs.PROVER else None
        elif len(inner) > 1 and inner[0] in passed:
            own = path.stem.startswith("__") or path.stem in passed[inner[0]]
            yield name, AUTHORED if own else None
        else:
            yield name, AUTHORED


def test_a_change_of_the_packages(root: Path, house: Path) -> None:
    kept = now(root)
    wrong = {}
    changes = dict(library_changes(house))
    for name, expected in changes.items():
        content = (house / name).read_bytes()
        (house / name).write_bytes(content + b"#")
        if (got := proofs.need(now(root), kept)) != expected:
            wrong[name] = got
        (house / name).write_bytes(content)
    assert not wrong and proofs.need(now(root), kept) is None
    assert changes["practical_dl/check.py"] == changes["practical_dl/weeks/week01.py"] == AUTHORED
    assert changes["practical_dl/data/digits.py"] == AUTHORED
    assert changes["practical_dl/weeks/week99.py"] is changes["practical_dl/data/mnist.py"] is None


def test_what_a_proof_depends_on_is_there() -> None:
    assert all((HOUSE / name).is_file() for name in proofs.PROVER)


def test_versions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = now(root)
    assert "torch 2" in kept.versions and "python 3" in kept.versions
    monkeypatch.setattr(proofs, "versions", lambda: "python 4")
    assert proofs.need(now(root), kept) == AUTHORED


def test_a_task_and_the_packages(root: Path) -> None:
    kept = replace(now(root), library="older")
    edit(root, (NOTEBOOK, HIDDEN, f"{HIDDEN}\npass"))
    found = proofs.need(now(root), kept)
    assert found == Need(frozenset({"double"}), TASKS - {"double"})
    assert set(found.kinds("double")) == set(mutants.KINDS)
    assert set(found.kinds("line")) == {"planted", "alternative"}


def test_without_a_receipt_all_is_proven(root: Path) -> None:
    assert proofs.need(now(root), None) == ALL
    assert set(ALL.kinds("line")) == set(mutants.KINDS) and not RUNS.kinds("line")


def test_hidden_checks_are_counted(root: Path) -> None:
    counted = 'for i in range(3):\n    check.close(1, 1, "1")\nassert True\ncheck.rng("x")\n'
    edit(root, (NOTEBOOK, HIDDEN, f'{counted}check.that(check.lines_run(f) < 3, "few")'))
    assert [proof.checks for proof in now(root).tasks.values()] == [1, 2, 3]


# -- The file ---------------------------------------------------------------------------------


def receipt_of(root: Path, **changes: Any) -> Receipt:
    """A receipt that holds, with some counts."""
    receipt = now(root)
    counts = {"planted": (3, 3), "generated": (4, 5), "standard": {"zeros": (1, 1)}, "seconds": 0.5}
    proven = {task: replace(proof, **counts) for task, proof in receipt.tasks.items()}
    return replace(receipt, tasks=proven, cpu_seconds=7, memory_mib=300, **changes)


def write_receipts(root: Path, **receipts: Receipt) -> None:
    (root / PROOF).write_bytes(proofs.dumps(receipts))


def read_receipts(root: Path) -> dict[str, Receipt]:
    course = tiny_course(root)
    return proofs.read(course, course.weeks[0])


def test_a_receipt_is_read_as_it_was_written(root: Path) -> None:
    receipt = receipt_of(root)
    write_receipts(root, tiny=receipt, other=receipt)
    assert read_receipts(root) == {"tiny": receipt, "other": receipt}
    assert list(read_receipts(root)["tiny"].tasks) == ["line", "distance", "double"]
    lines = (root / PROOF).read_text().splitlines()
    assert '    "generated": [4, 5],' in lines  # a pair is a line of a diff


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"3",
        b"{",
        b'{"tiny": 3}',
        b'{"tiny": {}}',
        b'{"tiny": {"tasks": []}}',
        b'{"tiny": {"tasks": {}, "code": "", "unknown": 1}}',
        b'{"tiny": {"tasks": {"line": {}}, "code": "a", "library": "b", "prover": "c"}}',
        b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> other\n",
    ],
)
def test_a_damaged_receipt_counts_as_none(root: Path, content: bytes) -> None:
    (root / PROOF).write_bytes(content)
    assert read_receipts(root) == {}


def test_none_is_none(root: Path) -> None:
    assert read_receipts(root) == {}
    (root / PROOF).mkdir()
    assert read_receipts(root) == {}


# -- Which gates write none; the worker, the stubs and the run are doubles ---------------------

GOOD = RunReport(Path(), True, 3.0, 2.4, 128.2, ((7, "x = 1", 2.0),), "", Path())


class Gates:
    """In the place of all that takes time: told what to find, and tells what was asked for."""

    def __init__(self) -> None:
        self.found: dict[str, list[Problem]] = {}  # by notebook
        self.untouched: dict[str, list[Problem]] = {}
        self.reports: dict[str, RunReport] = {}
        self.generated = {"killed": 9, "survived": 1}
        self.asked: dict[str, dict[str, list[str]]] = {}

    def prove_one(
        self, text: Text, root: Path, choose: mutants.Choose
    ) -> tuple[list[Proof], list[Problem]]:
        asked = {task: list(choose(task)) for task in text.solutions}
        self.asked[text.name] = asked
        made = []
        for task, kinds in asked.items():
            one = Proof(text, task, seconds=0.25)
            if "generated" in kinds:
                variant = Variant("generated", "", "", 1)
                one.killed += [variant] * self.generated["killed"]
                one.survived += [variant] * self.generated["survived"]
            if "planted" in kinds:
                one.killed += [Variant("planted", "", "", 1)] * 3
            if "standard" in kinds:
                one.killed.append(Variant("standard", "", "", 1, "zeros"))
                one.survived.append(Variant("standard", "", "", 1, "float32"))
            if "alternative" in kinds:
                one.accepted.append(Variant("alternative", "", "", 1))
            made.append(one)
        return made, self.found.get(text.name, [])

    def run(self, notebooks: list[Path], **options: Any) -> list[RunReport]:
        return [self.reports.get(path.stem, GOOD) for path in notebooks]


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    made = Gates()
    monkeypatch.setattr(mutants, "prove_one", made.prove_one)
    monkeypatch.setattr(lint, "untouched", lambda text, _: made.untouched.get(text.name, []))
    monkeypatch.setattr(proofs, "run_all", made.run)
    return made


@pytest.fixture(scope="module")
def two_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with two notebooks, built."""
    return built(two(copy_tiny(tmp_path_factory.mktemp("two") / "course")))


def two(root: Path) -> Path:
    """Give the tiny course a second notebook, with other names and no answer of its own."""
    second = SOURCE
    for task in TASKS:
        second = second.replace(task, f"{task}_too")
    more = '\n[[notebook]]\nname = "second"\npoints = 3\nbonus = 1\ntier = "cpu"\n'
    toml = (root / WEEK_TOML).read_text(encoding="utf-8").replace("points = 3", "points = 6", 1)
    return edit(
        root,
        (f"weeks/{WEEK}/second.py", None, second),
        (WEEK_TOML, None, toml + more),
    )


@pytest.fixture
def course(two_built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(two_built, tmp_path / "course")


def prove(root: Path, **options: Any) -> tuple[list[Outcome], list[Problem]]:
    """Prove and write, as the command does."""
    loaded = tiny_course(root)
    outcomes, problems = proofs.prove(loaded, loaded.weeks, **options)
    proofs.write(loaded, outcomes)
    return outcomes, problems


def test_a_course_is_proven_once(course: Path, gates: Gates) -> None:
    outcomes, problems = prove(course)
    assert not problems and [o.need is None for o in outcomes] == [False, False]
    receipts = read_receipts(course)
    assert list(receipts) == ["tiny", "second"]
    receipt = receipts["tiny"]
    assert (receipt.cpu_seconds, receipt.memory_mib) == (2, 130)
    line = receipt.tasks["line"]
    assert (line.planted, line.generated, line.alternatives) == ((3, 3), (9, 10), 1)
    assert line.standard == {"zeros": (1, 1), "float32": (0, 1)} and line.seconds == 0.25
    content = (course / PROOF).read_bytes()
    gates.asked.clear()
    outcomes, problems = prove(course)
    assert not problems and [o.need for o in outcomes] == [None, None] and not gates.asked
    assert [o.receipt for o in outcomes] == list(receipts.values())
    assert (course / PROOF).read_bytes() == content


def test_only_what_is_stale_is_tried_again(course: Path, gates: Gates) -> None:
    prove(course)
    built(edit(course, (NOTEBOOK, HIDDEN, f"{HIDDEN}\n{HIDDEN}")))
    gates.asked.clear()
    gates.generated = {"killed": 10, "survived": 0}
    _, problems = prove(course)
    assert not problems
    assert gates.asked == {"tiny": {"line": [], "distance": [], "double": list(mutants.KINDS)}}
    found = read_receipts(course)["tiny"].tasks
    assert [p.generated for p in found.values()] == [(9, 10), (9, 10), (10, 10)]
    assert [p.planted for p in found.values()] == [(3, 3)] * 3 and found["double"].checks == 2


def test_other_packages_keep_what_is_made_by_rule(
    course: Path, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove(course)
    monkeypatch.setattr(proofs, "versions", lambda: "python 4")
    gates.generated = {"killed": 0, "survived": 10}
    _, problems = prove(course)
    assert not problems and gates.asked["tiny"] == {
        task: ["planted", "alternative"] for task in ("line", "distance", "double")
    }
    receipt = read_receipts(course)["tiny"]
    assert receipt.versions == "python 4" and receipt.tasks["line"].generated == (9, 10)
    assert receipt.tasks["line"].standard["float32"] == (0, 1)


def test_all_again(course: Path, gates: Gates) -> None:
    prove(course)
    gates.asked.clear()
    prove(course, again=True, notebook="second")
    assert list(gates.asked) == ["second"]
    assert all(kinds == list(mutants.KINDS) for kinds in gates.asked["second"].values())


BROKEN = Problem("weeks/x.py", "line 3", "some-rule", "wrong")


def breaks(gates: Gates, how: str) -> None:
    """Let one gate refuse the notebook `tiny`."""
    if how == "mutants":
        gates.found["tiny"] = [BROKEN]
    elif how == "untouched":
        gates.untouched["tiny"] = [BROKEN]
    elif how == "run":
        gates.reports["tiny"] = replace(GOOD, ok=False, error="cell 3: NameError")
    elif how == "CPU":
        gates.reports["tiny"] = replace(GOOD, cpu_seconds=180.6)
    else:
        gates.reports["tiny"] = replace(GOOD, peak_memory_mib=3073.0)


@pytest.mark.parametrize(
    ("how", "rule", "words"),
    [
        ("mutants", "some-rule", "wrong"),
        ("untouched", "some-rule", "wrong"),
        ("run", "run", "cell 3: NameError"),
        ("CPU", "run", "its run takes 181 CPU seconds, of 180 (cell 7: 2 s)"),
        ("memory", "run", "its run takes 3073 MiB of memory, of 3072"),
    ],
)
def test_what_a_gate_refuses_has_no_receipt(
    course: Path, gates: Gates, how: str, rule: str, words: str
) -> None:
    """Its neighbour has; and one of before is taken away, or it would be believed."""
    breaks(gates, how)
    for again in (False, True):
        outcomes, problems = prove(course, again=again)
        assert rules_of(problems) == {rule} and words in problems[0].message
        assert [o.receipt is None for o in outcomes] == [True, False]
        assert list(read_receipts(course)) == ["second"]
        write_receipts(course, tiny=receipt_of(course), **read_receipts(course))


def test_too_few_generated_mutants(course: Path, gates: Gates) -> None:
    """The rate is a notebook's: a good neighbour does not make up for it."""
    gates.generated = {"killed": 8, "survived": 2}
    _, problems = prove(course, notebook="tiny")
    assert rules_of(problems) == {"generated-mutants"} and problems[0].file == NOTEBOOK
    assert "24 of 30" in problems[0].message and read_receipts(course) == {}


def test_a_week_that_is_not_in_order_is_not_proven(course: Path, gates: Gates) -> None:
    edit(course, (NOTEBOOK, "minutes=5", "minutes=6"))  # nothing is built of it
    outcomes, problems = prove(course)
    assert rules_of(problems) == {"built"} and not outcomes and not gates.asked


def test_a_notebook_that_ci_does_not_run_is_not_proven(course: Path, gates: Gates) -> None:
    edit(course, (WEEK_TOML, 'tier = "cpu"', 'excluded = "it needs a robot"'))
    outcomes, problems = prove(course)
    assert not problems and [o.text.name for o in outcomes] == ["second"]


def test_an_unknown_notebook(course: Path, gates: Gates) -> None:
    with pytest.raises(CourseError, match="there is only: tiny, second"):
        prove(course, notebook="third")


def test_a_notebook_that_is_gone_is_dropped(course: Path, gates: Gates) -> None:
    prove(course)
    write_receipts(course, third=receipt_of(course), **read_receipts(course))
    prove(course)
    assert list(read_receipts(course)) == ["tiny", "second"]


# -- What is compared -------------------------------------------------------------------------


def differences(root: Path, change: Callable[[Receipt], Receipt | None]) -> list[Problem]:
    """What is told of a receipt on disk, changed, once all has been proven again."""
    outcomes, _ = prove(root, again=True)
    receipts = read_receipts(root)
    changed = change(receipts.pop("tiny"))
    write_receipts(root, **({"tiny": changed} if changed else {}), **receipts)
    return proofs.differences(tiny_course(root), outcomes)


def with_line(**changes: Any) -> Callable[[Receipt], Receipt]:
    return lambda receipt: replace(
        receipt, tasks={**receipt.tasks, "line": replace(receipt.tasks["line"], **changes)}
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_line(planted=(4, 4)), "other counts than were found now, of line; "),
        (with_line(generated=(10, 10)), "of line; run: autograder prove week01_tiny --again"),
        (with_line(standard={}), "of line; "),
        (with_line(alternatives=2), "of line; "),
        (with_line(code="other"), "another one since; run: autograder prove week01_tiny"),
        (with_line(points=5.0), "another one since"),
        (lambda receipt: replace(receipt, code="other"), "another one since"),
        (lambda receipt: replace(receipt, tasks={}), "another one since"),
    ],
)
def test_a_receipt_that_tells_something_else(
    course: Path, gates: Gates, change: Callable[[Receipt], Receipt | None], words: str
) -> None:
    (problem,) = differences(course, change)
    assert (problem.file, problem.place, problem.rule) == (PROOF, "tiny", "receipt")
    assert words in problem.message


@pytest.mark.parametrize(
    "change",
    [
        lambda receipt: receipt,
        lambda receipt: None,
        with_line(seconds=99.0),
        lambda receipt: replace(receipt, cpu_seconds=1, memory_mib=1),
        lambda receipt: replace(receipt, library="older", prover="older", versions="python 3.99"),
    ],
)
def test_what_may_differ(course: Path, gates: Gates, change: Callable[[Receipt], Receipt]) -> None:
    """Times, and a state of the packages that was proven again just now."""
    assert not differences(course, change)


# -- The command, as a process: it starts itself again where there is no network ---------------


def autograder(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "autograder", *arguments]
    return subprocess.run(line, cwd=root, capture_output=True, text=True)


def test_the_command(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "курс № 1")
    (root / "docs").mkdir()
    look = "# %%\nimport socket\n\nassert [n for _, n in socket.if_nameindex()] == ['lo']\n"
    built(edit(root, (NOTEBOOK, PRINT, look)))
    done = autograder(root, "prove")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "float32: line" in done.stdout and "week01_tiny/tiny" in done.stdout
    assert done.stdout.endswith("1 notebook(s) proven, 0 of them by receipt.\n")
    assert tasks.PATH.name in {p.name for p in (root / "docs").iterdir()}
    assert not tasks.stale(tiny_course(root))
    kept = (root / PROOF).read_bytes()

    done = autograder(root, "prove", "week01", "--check")
    assert done.stdout == "1 notebook(s) proven, 1 of them by receipt.\n" and not done.stderr

    # Written by hand, so that it holds: proving again finds it, and leaves it as it is.
    values = json.loads(kept)
    values["tiny"]["tasks"]["double"]["generated"] = [30, 30]
    (root / PROOF).write_text(json.dumps(values))
    written = (root / PROOF).read_bytes()
    assert autograder(root, "prove", "--check").returncode == 0
    done = autograder(root, "prove", "--again", "--check")
    assert done.returncode == 2 and "[receipt]" in done.stderr and "of double;" in done.stderr
    assert (root / PROOF).read_bytes() == written


def test_the_command_where_a_gate_refuses(tmp_path: Path) -> None:
    root = built(edit(copy_tiny(tmp_path / "course"), (NOTEBOOK, HIDDEN, "pass")))
    done = autograder(root, "prove", "--network")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "[mutant-survives]" in done.stderr and "by receipt" not in done.stdout
    assert f"{NOTEBOOK}: double: planted survivor\nadds two" in done.stdout
    assert json.loads((root / PROOF).read_bytes()) == {}


def test_the_tiny_course_has_no_receipt() -> None:
    """It would hide what these tests are to find."""
    assert not (TINY / PROOF_PATH).exists()
