"""The GitHub workflow: it can't be run here, so tools and the command line itself look at it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from kit.cli import autograder
from kit.rules import built

from autograder.cli import app

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / ".github" / "workflows" / "ci.yml"
TEXT = FILE.read_text(encoding="utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
ON = True  # YAML 1.1 reads the key `on` so
TARGETS = set(
    re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.M)
)


def looked_at(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [str(Path(sys.executable).with_name(tool)), *arguments]
    return subprocess.run(line, capture_output=True, text=True)


def schema(file: Path) -> subprocess.CompletedProcess[str]:
    return looked_at("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(file))


def zizmor(file: Path) -> subprocess.CompletedProcess[str]:
    """Look for ways in: expressions in scripts, rights, tokens left behind, actions not pinned."""
    return looked_at("zizmor", "--offline", "--no-progress", "--format=plain", str(file))


@pytest.mark.parametrize("look", [schema, zizmor])
def test_nothing_is_found(look: Any) -> None:
    done = look(FILE)
    assert done.returncode == 0, done.stdout + done.stderr


PINNED = r"(actions/checkout@)[0-9a-f]{40}"


@pytest.mark.parametrize(
    ("look", "pattern", "new", "said"),
    [
        (schema, "runs-on:", "run-on:", "runs-on"),
        (zizmor, PINNED, r"\1v5", "unpinned-uses"),
        (zizmor, "persist-credentials: false", "fetch-tags: false", "artipacked"),
        (zizmor, '"\\$WEEK"', "${{ github.head_ref }}", "template-injection"),
        (zizmor, "contents: read", "contents: write", "excessive-permissions"),
        (zizmor, "  pull_request:", "  pull_request_target:", "dangerous-triggers"),
    ],
)
def test_a_fault_is_noticed(tmp_path: Path, look: Any, pattern: str, new: str, said: str) -> None:
    bad = tmp_path / ".github" / "workflows" / "bad.yml"
    bad.parent.mkdir(parents=True)
    changed, found = re.subn(pattern, new, TEXT)
    assert found
    bad.write_text(changed, encoding="utf-8")
    done = look(bad)
    assert done.returncode != 0 and said in done.stdout + done.stderr


def test_when_and_where_it_runs() -> None:
    """What no tool can know: that all pushes are tested, and no stranger's code on our machine."""
    assert WORKFLOW[ON].keys() == {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert not WORKFLOW[ON]["push"] and not WORKFLOW[ON]["pull_request"]  # unfiltered
    for name, job in WORKFLOW["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 360, name
        if "self-hosted" in job["runs-on"]:
            assert re.findall(r"event_name == '(\w+)'", job["if"]) == [
                "schedule",
                "workflow_dispatch",
            ]
        for step in job["steps"]:
            if "upload-artifact" in step.get("uses", ""):
                # Where a week's receipts hold, nothing runs.
                none = "ignore" if name == "weeks" else "error"
                assert (step["if"], step["with"]["if-no-files-found"]) == ("always()", none)


def test_what_runs_when() -> None:
    """A push is proven by receipt, a night all of it; and no step of a job is left out of both."""
    steps = WORKFLOW["jobs"]["weeks"]["steps"]
    when = {s["run"].strip(): s["if"] for s in steps if "autograder prove" in s.get("run", "")}
    assert [w.removeprefix("github.event_name ") for w in when.values()] == [
        "!= 'schedule'",
        "== 'schedule'",
    ]
    assert ["--again" in line for line in when] == [False, True]
    tests = [s for s in WORKFLOW["jobs"]["test"]["steps"] if "make test" in s.get("run", "")]
    assert [s["if"] for s in tests] == [
        "needs.lint.outputs.machine != 'false'",
        "needs.lint.outputs.machine == 'false'",
    ]
    for step in tests:  # what is left out is run in other jobs
        assert re.findall(r"--ignore=(\S+?)\"?$", step["run"]) == ["tests/weeks/test_weeks.py"]
        named = re.findall(r"tests/[\w./]+", step["run"])
        assert all((REPOSITORY / path).exists() for path in named)
    full = WORKFLOW["jobs"]["full"]
    assert re.findall(r"event_name == '(\w+)'", full["if"]) == ["schedule", "workflow_dispatch"]


def lines() -> list[str]:
    """The lines of the workflow's scripts that start a program of ours."""
    scripts = [s.get("run", "") for job in WORKFLOW["jobs"].values() for s in job["steps"]]
    found = re.findall(r"(?:^|\$\()\s*((?:make|\.venv/bin/\w+) [^|)\n]*)", "\n".join(scripts), re.M)
    return [line.strip() for line in found]


@pytest.mark.parametrize("line", lines())
def test_every_command_exists(line: str) -> None:
    """The real command line parses it, and runs nothing."""
    values = {"$WEEK": "week01", "$BASE": "HEAD"}
    program, *arguments = [values.get(word, word) for word in shlex.split(line)]
    if program == "make":
        assert arguments[0] in TARGETS and all(a.startswith("ARGS=") for a in arguments[1:])
    elif program == ".venv/bin/autograder":
        command = typer.main.get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
        command.make_context(arguments[0], arguments[1:])
    else:
        assert Path(sys.prefix, "bin", Path(program).name).exists()


def test_it_runs_what_it_should() -> None:
    for line in (
        'make test ARGS="--ignore=tests/weeks/test_weeks.py"',
        ".venv/bin/ruff check",
        ".venv/bin/autograder build --check",
        '.venv/bin/autograder changed --json "$BASE"',
        '.venv/bin/autograder changed --machine "$BASE"',
        '.venv/bin/autograder fetch "$WEEK"',
        '.venv/bin/autograder prove "$WEEK" --check',
        '.venv/bin/autograder prove "$WEEK" --again --check',
        ".venv/bin/autograder run --tier cpu --profile full",
        ".venv/bin/autograder run --tier gpu --profile full",
    ):
        assert line in lines(), lines()
    assert "practical_dl.data" not in TEXT  # which sets a week loads stands in its week.toml


def step_of(job: str, word: str) -> dict[str, Any]:
    return next(s for s in WORKFLOW["jobs"][job]["steps"] if word in s.get("run", ""))


@pytest.mark.parametrize("word", ["ruff check", "ruff format"])
def test_the_code_passes_ruff(word: str) -> None:
    """The workflow's own line, without the weeks, which lint looks at."""
    _, *arguments = shlex.split(step_of("lint", word)["run"])
    folders = ["practical_dl", "autograder", "tests"]
    line = [sys.executable, "-m", "ruff", *arguments, *([] if "format" in word else folders)]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# -- The scripts of more than a line, run for real in the tiny course ---------------------------


def run_step(word: str, job: str, folder: Path, **variables: str) -> tuple[int, str]:
    """Run a step as GitHub does; its exit code and what it wrote of outputs and summary."""
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)
    written = folder / "github"
    files = {"GITHUB_OUTPUT": str(written), "GITHUB_STEP_SUMMARY": str(written)}
    script = step_of(job, word)["run"]
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | files | variables,
        capture_output=True,
        text=True,
    )
    return done.returncode, written.read_text() if written.exists() else done.stderr


def test_the_step_that_tells_the_weeks(tiny: Path) -> None:
    expected = 'weeks=["week01_tiny"]\nmachine=true\n'
    assert run_step("changed", "lint", tiny, BASE="") == (0, expected)


def test_it_fails_where_they_can_not_be_told(tiny: Path) -> None:
    (tiny / "course.toml").write_text("[course")
    code, said = run_step("changed", "lint", tiny, BASE="")
    assert code == 2 and "not valid TOML" in said


def test_the_steps_that_prove_a_week(tiny: Path) -> None:
    """A week without a receipt is proven; one with a receipt is believed, or compared with it."""
    folder = built(tiny)
    push, night = 'prove "$WEEK" --check', 'prove "$WEEK" --again --check'
    none, all_ = "0 of them by receipt.", "proven, 1 of them by receipt."
    for receipt, step, last in ((False, push, none), (True, push, all_), (True, night, none)):
        if receipt:
            assert autograder(folder, "prove").returncode == 0
        code, said = run_step(step, "weeks", folder, WEEK="week01_tiny")
        assert code == 0 and said.endswith(f"{last}\n")


def test_the_step_that_runs_in_full(tiny: Path) -> None:
    code, table = run_step("--tier cpu", "full", built(tiny))
    assert code == 0 and "week01_tiny/tiny" in table
    assert (tiny / "runs" / "source" / "full" / "junit.xml").is_file()


def test_a_notebook_that_fails_fails_the_step(tiny: Path) -> None:
    code, _ = run_step("--tier cpu", "full", tiny)  # nothing is built
    assert code != 0
