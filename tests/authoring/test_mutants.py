"""Mutants: which are made, which are killed, and every way in which the gate must not hold."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from kit import wait
from kit.rules import NOTEBOOK, SOURCE, TINY, WEEK, copy_tiny, edit, rules_in, rules_of, tiny_text

from autograder.authoring import mutants, standard
from autograder.authoring.mutants import (
    Choose,
    Proof,
    Variant,
    authored,
    everything,
    generate,
    only,
    prove,
    too_few_killed,
    variants_of,
)
from autograder.authoring.text import Text, parse
from autograder.errors import CourseError, Problem

PRINT = "# %%\nprint(line(np.arange(3.0), 2.0, 1.0))\n"
# Of the task `double`: its last planted mutant, its public and its hidden check.
ADDS = "# + return 2 + x"
PUBLIC = 'check.equal(double(2.0), 4.0, "double(2)")'
HIDDEN = 'check.equal(double(-3.0), -6.0, "double(-3)", why="it is twice the number")'


def proved(
    *changes: tuple[str, str], choose: Choose = authored
) -> tuple[list[Proof], list[Problem]]:
    return prove([tiny_text(*changes)], TINY, choose=choose)


@pytest.fixture(scope="module")
def tiny_proof() -> tuple[list[Proof], list[Problem]]:
    return proved(choose=everything)


# -- Generating -------------------------------------------------------------------------------


def solution(body: str, *, before: str = "", head: str = "def f(x, y=1):") -> str:
    lines = ["### BEGIN SOLUTION", *body.split("\n"), "### END SOLUTION"]
    return f"{before}{head}\n" + textwrap.indent("\n".join(lines), "    ")


def bodies(source: str) -> set[str]:
    """What generate makes of it, without the first line."""
    return {"\n".join(m.split("\n")[1:]).replace("    ", "", 1) for m in generate(source)}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return x + y", {"return x - y"}),
        ("return x - y", {"return x + y"}),
        ("return x * y", {"return x / y"}),
        ("return x / y", {"return x * y"}),
        ("return x // y", {"return x * y"}),
        ("return x % y", {"return x // y"}),
        ("return x ** y", {"return x * y"}),
        ("return x @ y", {"return x * y"}),
        ("return x < y", {"return x <= y", "return x >= y"}),
        ("return x <= y", {"return x < y", "return x > y"}),
        ("return x > y", {"return x >= y", "return x <= y"}),
        ("return x >= y", {"return x > y", "return x < y"}),
        ("return x == y", {"return x != y"}),
        ("return x != y", {"return x == y"}),
        ("return x is y", {"return x is not y"}),
        ("return x is not y", {"return x is y"}),
        ("return x in y", {"return x not in y"}),
        ("return x not in y", {"return x in y"}),
        ("return x and y", {"return x or y"}),
        ("return x or y", {"return x and y"}),
        ("return -x", {"return x"}),
        ("return not x", {"return x"}),
        ("return True", {"return False"}),
        ("return 0", {"return 1"}),
        ("return 1", {"return 2"}),
        ("return 5", {"return 6", "return 0"}),
        ("return 0.5", {"return 1.5", "return 0.25"}),
        ("return x.sum(axis=0)", {"return x.sum(axis=1)"}),
        ("return f(axis=-1)", {"return f(axis=0)", "return f(axis=1)", "return f(axis=-2)"}),
        ("return x.sum(axis=None)", set()),
        ("return x[1]", {"return x[2]"}),
        ("return x", set()),
        ("x.sort()\nreturn x", {"return x"}),
        ("x[y] = y\nreturn x", {"return x"}),
        ("x += y\nreturn x", {"x -= y\n    return x", "return x"}),
        ("y = x\nreturn y", set()),
        ("'''Words 5.'''\nreturn x", set()),
        ("if x:\n    x.sort()\nreturn x", {"if x:\n        pass\n    return x"}),
        ("raise ValueError(x + 1)", set()),
        ("z: int = x\nreturn z", set()),
    ],
)  # fmt: skip
def test_each_change(body: str, expected: set[str]) -> None:
    assert bodies(solution(body)) == expected


def test_only_the_region_changes() -> None:
    before = "LIMIT = 5 + 2\n"
    source = solution("return x", before=before, head="def f(x: int = 3 + 4) -> 1 + 1:\n    x = -x")
    assert generate(source) == []
    twice = solution("x = x + y") + "\n    x = x - y\n" + textwrap.indent(
        "### BEGIN SOLUTION\nreturn x * y\n### END SOLUTION", "    "
    )  # fmt: skip
    changed = "\n".join(generate(twice))
    assert len(generate(twice)) == 2 and changed.count("x - y") == 3 and "x / y" in changed


def test_mutants_are_other_valid_programs_and_no_two_are_the_same() -> None:
    body = "for i in range(0, 3):\n    x[i] += 2 * i if i > 1 else -i\nreturn x.sum(axis=1) / 2.0"
    source = solution(body)
    found = generate(source)
    assert len(found) == len(set(found)) > 12
    assert ast.unparse(ast.parse(source)) not in found
    for mutant in found:
        ast.parse(mutant)
    assert generate(source) == found


def test_the_diff_shows_the_changed_line_alone() -> None:
    diffs = [v.text for v in variants_of(tiny_text())["double"] if v.kind == "generated"]
    assert "-    return 2 * x\n+    return 2 / x" in diffs
    assert all(d.count("\n") == 1 for d in diffs)


def test_which_variants() -> None:
    text = tiny_text()
    kinds = {task: [v.kind for v in found] for task, found in variants_of(text).items()}
    assert list(kinds) == ["line", "distance", "double"]
    assert list(dict.fromkeys(kinds["line"])) == list(mutants.KINDS)
    assert kinds["double"].count("planted") == 3 and "alternative" not in kinds["double"]
    for choose, task, expected in (
        (authored, "line", ["planted"] * 3 + ["alternative"]),
        (only([text], "line", authored), "line", ["planted"] * 3 + ["alternative"]),
        (only([text], "line", authored), "double", []),
    ):
        assert [v.kind for v in variants_of(text, choose)[task]] == expected
    for variant in variants_of(text)["line"]:
        assert bool(variant.mistake) == (variant.kind == "standard")


# -- Proving the tiny course ------------------------------------------------------------------


def test_the_tiny_course_is_proved(tiny_proof: tuple[list[Proof], list[Problem]]) -> None:
    proofs, problems = tiny_proof
    assert not problems
    assert {p.task: p.count("planted") for p in proofs} == {
        "line": (3, 3),
        "distance": (3, 3),
        "double": (3, 3),
    }
    assert [len(p.accepted) for p in proofs] == [1, 0, 0]
    for proof in proofs:
        killed, total = proof.count("generated")
        assert killed == total > 0 and not proof.rejected and proof.seconds > 0


def test_standard_mutants_by_their_mistake(tiny_proof: tuple[list[Proof], list[Problem]]) -> None:
    """A tolerance does not tell single precision; what has nothing to change is not counted."""
    line, distance, double = tiny_proof[0]
    assert [(v.kind, v.text) for p in tiny_proof[0] for v in p.survived] == [
        ("standard", "float32: line")
    ]
    numeric = {kind: (1, 1) for kind in ("zeros", "half", "sign", "shape", "integer", "by heart")}
    calls = {"first call": (1, 1), "count": (1, 1)}
    assert line.mistakes() == numeric | calls | {"float32": (0, 1), "in place": (1, 1)}
    assert distance.mistakes() == numeric | calls
    whole = {kind: pair for kind, pair in numeric.items() if kind != "integer"}
    assert double.mistakes() == whole | calls
    assert line.count("standard") == (9, 10)


def test_what_authors_wrote_alone() -> None:
    proofs, problems = proved()
    assert not problems and [p.count("generated") for p in proofs] == [(0, 0)] * 3
    assert [p.mistakes() for p in proofs] == [{}] * 3


def test_a_mutant_that_fails_by_itself_is_not_counted() -> None:
    odd = "class Odd(float):\n    __neg__ = None\n    __rmul__ = lambda x, y: Odd(1)\n"
    proofs, _ = proved(
        ('# %% solution="double"\n', f'# %%\n{odd}\n# %% solution="double"\n'),
        ("    return 2 * x\n", "    x = Odd(x)\n    return 2 * x\n"),
        choose=only_standard,
    )
    assert "sign" not in proofs[2].mistakes() and "zeros" in proofs[2].mistakes()


@pytest.mark.parametrize(
    ("old", "new", "mistakes"),
    [
        (HIDDEN, 'check.that(abs(double(-3.0)) == 6.0, "6")', {"sign"}),
        (HIDDEN, "pass", {"by heart"}),
    ],
)
def test_what_each_numeric_task_has_to_notice(old: str, new: str, mistakes: set[str]) -> None:
    public = 'check.that(abs(double(2.0)) == 4.0, "double(2)")'
    proofs, problems = proved((old, new), (PUBLIC, public), choose=only_standard)
    assert rules_of(problems) == {"mutant-survives"}
    assert {v.mistake for v in proofs[2].survived} >= mistakes
    told = {p.message.rpartition(": ")[0].rpartition(": ")[2] for p in problems}
    assert told == {v.mistake for v in proofs[2].survived} & set(standard.NEEDED)


def only_standard(task: str) -> list[str]:
    return ["standard"] if task == "double" else []


# -- Every way in which the gate must not hold ------------------------------------------------

SEEN = ("import check\n", 'import check\n\nSEEN = {"once": 1}\n')
DRAWS = 'n = check.rng("double").integers(2**60)\nassert SEEN.setdefault("n", n) == n'
ONCE = 'SEEN.pop("once")'
LESS = 'check.score(SEEN.pop("once", 0.5), "The first time counts.")'

# rule, words of the message, old, new
CASES = [
    ("mutant-survives", "passes on this mutant: adds two", HIDDEN, "pass"),
    ("mutant-survives", "passes on this mutant: adds two", ADDS, "# + return x + x"),
    ("alternative", "fails on a right answer (one expression): CheckFailed", "x * a + b", "x + a"),
    ("alternative", "NotImplementedError", "    return x * a + b", "    raise NotImplementedError"),
    ("reference", "the reference fails here: ZeroDivisionError", PRINT, "# %%\n1 / 0\n"),
    ("reference", "the reference fails here: CheckFailed", PUBLIC, PUBLIC.replace("4.0", "5.0")),
    ("reference", "gets 50% of the points", HIDDEN, f'{HIDDEN}\ncheck.score(0.5, "Half.")'),
    ("reference", "ended before the last cell", PRINT, "# %%\nimport os\n\nos._exit(0)\n"),
    ("reference", "ended before the last cell", PRINT, "# %%\nimport os\n\nos.abort()\n"),
    # The numbers it draws decide whether the reference passes; it can't run twice.
    ("reference", "run again at the end, the reference fails here", HIDDEN, f"{HIDDEN}\n{DRAWS}"),
    ("reference", "run again at the end, the reference fails here", HIDDEN, f"{HIDDEN}\n{ONCE}"),
    ("flaky", "score changes", HIDDEN, f"{HIDDEN}\n{LESS}"),
]
OTHER = {"exam", "generated-mutants", "unknown-task"}  # exam: in test_exams.py


@pytest.mark.parametrize(("rule", "words", "old", "new"), CASES)
def test_each_rule_is_broken_alone(rule: str, words: str, old: str, new: str) -> None:
    _, problems = proved(SEEN, (old, new))
    assert rules_of(problems) == {rule}, [str(p) for p in problems]
    assert any(words in p.message for p in problems), [str(p) for p in problems]
    assert all(p.file == NOTEBOOK for p in problems)


def test_every_rule_has_a_case() -> None:
    assert rules_in(mutants) == {case[0] for case in CASES} | OTHER


def test_a_problem_stands_at_the_line_of_its_cell() -> None:
    _, problems = proved((ADDS, "# + return x + x"))
    lines = SOURCE.split("\n")
    (problem,) = problems
    assert "adds two" in lines[int(problem.place.removeprefix("line ")) - 1]


def test_all_problems_are_told_at_once() -> None:
    _, problems = proved((HIDDEN, "pass"), ("x * a + b", "x + a"), (PRINT, "# %%\n1 / 0\n"))
    assert rules_of(problems) == {"mutant-survives", "alternative", "reference"}


def planted(*bodies: str) -> tuple[str, str]:
    """Mutants of `double` with these bodies, for the last planted one."""
    cells = [f'# %% mutant="double" why="{i}"\n# - return 2 * x\n' for i in range(len(bodies))]
    mutants_ = "\n\n".join(cell + f"# + {body}" for cell, body in zip(cells, bodies, strict=True))
    return f'# %% mutant="double" why="adds two"\n# - return 2 * x\n{ADDS}', mutants_


ENDS = [
    "raise SystemExit",
    "import os; os._exit(0)",
    "import os; os.kill(os.getpid(), 9)",
    "import os; os.abort()",
    "raise KeyboardInterrupt",
    "raise NotImplementedError",
    "import sys; sys.stdout = sys.stderr = None; return 1",
    "import os; os.closerange(3, 100); return 1",
]


def test_a_mutant_that_ends_python_is_killed() -> None:
    proofs, problems = proved(planted(*ENDS))
    assert not problems and proofs[2].count("planted") == (2 + len(ENDS),) * 2


def test_a_mutant_that_never_ends_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "VARIANT_SECONDS", 0.5)
    block = "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 30))"
    proofs, problems = proved(
        planted("while True: pass", f"import signal, time; {block}; time.sleep(9999)")
    )
    assert not problems and proofs[2].count("planted") == (4, 4)


def test_what_a_mutant_leaves_running_stops_nothing() -> None:
    """A process of the mutant's own holds on to the pipe; its answer counts all the same."""
    leave = "import os, time; os.fork() or (time.sleep(9999), os._exit(0)); return 2 + x"
    proofs, problems = proved(planted(leave))
    assert not problems and proofs[2].count("planted") == (3, 3)


def test_a_mutant_changes_nothing_for_those_after_it() -> None:
    spoil = "check.equal = lambda *a, **k: None; return 2 * x"
    proofs, problems = proved(planted(spoil, "return 5 * x"))
    assert rules_of(problems) == {"mutant-survives"} and len(problems) == 1
    assert proofs[2].count("planted") == (3, 4)


def test_a_reference_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "SILENT_SECONDS", 3.0)
    _, problems = proved((PRINT, "# %%\nwhile True:\n    pass\n"))
    assert rules_of(problems) == {"reference"} and "longer than 3 s" in problems[0].message


def test_partial_credit_is_no_pass_for_a_mutant() -> None:
    scored = 'check.score(1.0 if double(-3.0) == -6.0 else 0.5, "x")'
    proofs, problems = proved((HIDDEN, scored))
    assert not problems and proofs[2].count("planted") == (3, 3)


def test_a_cell_that_prints_does_not_disturb() -> None:
    noise = 'import os\n\nos.write(1, b"{}\\n")\nos.write(2, b"x")\nprint("{}")\n'
    proofs, problems = proved((PRINT, f"# %%\n{noise}"))
    assert not problems and len(proofs) == 3


def test_a_notebook_runs_in_a_copy_of_its_folder(tmp_path: Path) -> None:
    """Its helpers are there, and what it writes is not built."""
    root = edit(copy_tiny(tmp_path / "курс № 1"), (f"weeks/{WEEK}/helper.py", None, "VALUE = 3\n"))
    before = sorted((root / "weeks" / WEEK).rglob("*"))
    use = "# %%\nfrom helper import VALUE\n\nopen('left.txt', 'w').write(str(VALUE))\n"
    _, problems = prove([tiny_text((PRINT, use))], root)
    assert not problems and sorted((root / "weeks" / WEEK).rglob("*")) == before


# -- Which, and how many at once --------------------------------------------------------------


def test_only_one_task() -> None:
    text = tiny_text()
    told: list[str] = []
    choose = only([text], "double", authored)
    proofs, problems = prove([text], TINY, choose=choose, on_event=told.append)
    assert not problems and [p.count("planted") for p in proofs] == [(0, 0), (0, 0), (3, 3)]
    assert told == ["planted"] * 3
    with pytest.raises(CourseError, match=r"unknown-task.*distance, double, line"):
        only([text], "treble", authored)


def test_several_notebooks_at_once_give_the_same_in_the_same_order(tmp_path: Path) -> None:
    slow = SOURCE.replace(PRINT, "# %%\nimport time\n\ntime.sleep(0.5)\n")
    texts: list[Text] = []
    for name, source in (("a", slow), ("b", SOURCE.replace(HIDDEN, "pass")), ("c", SOURCE)):
        text, problems = parse(source, WEEK, name)
        assert not problems
        texts.append(text)

    def said(jobs: int) -> list[tuple]:
        proofs, problems = prove(texts, TINY, jobs=jobs)
        return [(p.text.name, p.task, p.count("planted")) for p in proofs], problems

    proofs, problems = said(1)
    assert said(3) == (proofs, problems)
    assert [p[0] for p in proofs] == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert {p.file for p in problems} == {f"weeks/{WEEK}/b.py"}


@pytest.mark.parametrize(("killed", "survived", "holds"), [(85, 15, True), (84, 16, False)])
def test_the_rate_of_generated_mutants(killed: int, survived: int, holds: bool) -> None:
    variant = Variant("generated", "", "", 1)
    proof = Proof(tiny_text(), "line", killed=[variant] * killed, survived=[variant] * survived)
    problems = too_few_killed("f.py", [proof.count("generated"), (0, 0)])
    assert rules_of(problems) == (set() if holds else {"generated-mutants"})
    if problems:
        assert "84 of 100" in problems[0].message and problems[0].file == "f.py"
    assert not too_few_killed("f.py", [])


# -- The command ------------------------------------------------------------------------------


def autograder(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "autograder", "mutants", *arguments]
    return subprocess.run(line, cwd=root, capture_output=True, text=True)


def test_the_command_prints_rates_and_survivors(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    edit(root, (NOTEBOOK, HIDDEN, "pass"), (NOTEBOOK, PUBLIC, "double(2.0)"))
    done = autograder(root, "--generate", "--jobs", "2")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "[mutant-survives]" in done.stderr and "adds two" in done.stderr
    rows = {r.split("│")[2].strip(): r for r in done.stdout.splitlines() if r.count("│") > 4}
    assert "3/3  100%" in rows["line"] and "1/1" in rows["line"]
    assert "0/3  0%" in rows["double"]
    assert f"{NOTEBOOK}: double: planted survivor\nadds two" in done.stdout
    assert f"{NOTEBOOK}: double: generated survivor\n-    return 2 * x\n+    return" in done.stdout


def test_the_command_says_nothing_wrong_of_what_is_right(tmp_path: Path) -> None:
    root = copy_tiny(tmp_path / "course")
    done = autograder(root, "week01", "--notebook", "tiny", "--task", "double")
    assert (done.returncode, done.stderr) == (0, "") and "survivor" not in done.stdout


def test_an_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    began = tmp_path / "began"
    sleeps = f"# %%\nimport time\n\nopen({str(began)!r}, 'w').close()\ntime.sleep(9999)\n"
    root = edit(copy_tiny(tmp_path / "course"), (NOTEBOOK, PRINT, sleeps))
    line = [sys.executable, "-m", "autograder", "mutants"]
    with subprocess.Popen(
        line, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        wait.until(began.exists)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--notebook", "other"), "[unknown-notebook] there is only: tiny"),
        (("--task", "other"), "[unknown-task] there is only: distance, double, line"),
        (("week07",), f"[unknown-week] there is only: {WEEK}"),
    ],
)
def test_an_unknown_name_is_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    done = autograder(TINY, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr
