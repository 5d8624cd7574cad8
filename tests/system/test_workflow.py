"""The GitHub workflow: it can't be run here, so what can be read off it is checked."""

from __future__ import annotations

import copy
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from autograder.cli import app
from practical_dl import data

REPOSITORY = Path(__file__).parents[2]
FILE = REPOSITORY / ".github" / "workflows" / "ci.yml"
Workflow = dict[Any, Any]
WORKFLOW: Workflow = yaml.safe_load(FILE.read_text(encoding="utf-8"))
ON = True  # YAML 1.1 reads the key `on` so

TARGETS = set(
    re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.M)
)
RUNNERS = ("ubuntu-24.04", ["self-hosted", "gpu"])
TOOLS = {"sudo", "echo", "mkdir", "tee", "for", "done"}  # of the shell and the system


def faults(workflow: Workflow) -> list[str]:
    """What is wrong with a workflow, beyond its form."""
    found = [*_triggers(workflow), *_rights(workflow)]
    for name, job in workflow["jobs"].items():
        found += [f"{name}: {fault}" for fault in _job(job, workflow)]
    return found


def _triggers(workflow: Workflow) -> Iterator[str]:
    for name in ("push", "pull_request", "schedule", "workflow_dispatch"):
        if name not in workflow[ON]:
            yield f"it does not run on {name}"
        elif name != "schedule" and workflow[ON][name]:
            yield f"{name} is filtered"
    for entry in workflow[ON].get("schedule", []):
        if not _is_cron(entry["cron"]):
            yield f"no cron line: {entry['cron']}"


def _is_cron(line: str) -> bool:
    limits = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
    parts = line.split()
    return len(parts) == 5 and all(
        part == "*" or (part.isdigit() and low <= int(part) <= high)
        for part, (low, high) in zip(parts, limits, strict=True)
    )


def _rights(workflow: Workflow) -> Iterator[str]:
    if workflow.get("permissions") != {"contents": "read"}:
        yield "its rights are more than to read"
    text = yaml.safe_dump(workflow)
    for word in ("continue-on-error", "head_commit", "event.commits", "secrets.", "|| true"):
        if word in text:
            yield f"{word} is not for here"


def _job(job: dict[str, Any], workflow: Workflow) -> Iterator[str]:
    if job["runs-on"] not in RUNNERS:
        yield f"no such runner: {job['runs-on']}"
    if "self-hosted" in job["runs-on"] and "github.event_name == 'schedule'" not in job.get(
        "if", ""
    ):
        yield "a stranger's pull request may run on a machine of ours"
    if not 0 < job.get("timeout-minutes", 0) <= 360:
        yield "no time limit"
    if "permissions" in job:
        yield "rights of its own"
    for needed in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", yaml.safe_dump(job)):
        if needed[0] != job.get("needs") or needed[1] not in workflow["jobs"][needed[0]]["outputs"]:
            yield f"nothing gives {'.'.join(needed)}"
    for identifier, output in re.findall(r"steps\.(\w+)\.outputs\.(\w+)", yaml.safe_dump(job)):
        step = next((s for s in job["steps"] if s.get("id") == identifier), {"run": ""})
        if f'"{output}=' not in step["run"] or "$GITHUB_OUTPUT" not in step["run"]:
            yield f"no step writes {identifier}.{output}"
    for step in job["steps"]:
        yield from _uses(step) if "uses" in step else _run(step)


def _uses(step: dict[str, Any]) -> Iterator[str]:
    action = step["uses"]
    if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", action):
        yield f"not pinned to a commit: {action}"
    options = step.get("with", {})
    if "checkout" in action and options.get("persist-credentials") is not False:
        yield "the checkout leaves its token behind"
    if "upload-artifact" in action:
        if options.get("if-no-files-found") != "error":
            yield "an upload of nothing passes"
        if step.get("if") != "always()":
            yield "no upload of what failed"


def _run(step: dict[str, Any]) -> Iterator[str]:
    if "${{" in step["run"]:
        yield f"an expression in a script: {step['run']}"  # an event's text would be run
    script = step["run"]
    for name, values in re.findall(r"^for (\w+) in (.+); do$", script, flags=re.M):
        for value in values.split():  # each value in a line of its own
            pattern = rf"^.*\${name}\b.*$"
            lines = re.findall(pattern, script, flags=re.M)
            script += "".join(f"\n{line.replace(f'${name}', value)}" for line in lines)
    for line in commands(script):
        if fault := _command(line):
            yield f"{fault}: {shlex.join(line)}"


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a script of lines, pipes, $(...) and loops, as lists of words."""
    script = re.sub(r"\|\s*\n\s*", "| ", script)
    for line in script.splitlines():
        line = re.sub(r"^\w+=\$\((.*)\)$", r"\1", line.strip())
        for part in line.split(" | "):
            if words := shlex.split(part):
                yield words


def _command(words: list[str]) -> str:
    """What is wrong with a command, or ""."""
    values = {"$tree": "source"}
    words = [re.sub(r"\$\w+", lambda m: values.get(m[0], "week01_backprop"), w) for w in words]
    program, *arguments = words
    match program:
        case "make":
            if arguments[0] not in TARGETS:
                return "no such target"
            if any(not re.match(r"ARGS=", a) for a in arguments[1:]):
                return "no such argument"
        case ".venv/bin/autograder":
            return _autograder(arguments)
        case ".venv/bin/python":
            if arguments[:2] == ["-m", "practical_dl.data"]:
                return "" if set(arguments[2:]) <= set(data.names()) else "no such data set"
            return "" if arguments[:2] == ["-m", "pytest"] else "no such module"
        case ".venv/bin/ruff":
            return "" if arguments[0] in ("check", "format") else "no such command"
        case _:
            return "" if program in TOOLS else "no such program"
    return ""


def _autograder(arguments: list[str]) -> str:
    """Parse as the real command line does, and run nothing."""
    group = typer.main.get_command(app)
    command = group.commands.get(arguments[0])
    if command is None:
        return "no such command"
    try:
        command.make_context(arguments[0], arguments[1:])
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return error.format_message()
    return ""


def test_its_form() -> None:
    line = [str(Path(sys.executable).with_name("check-jsonschema"))]
    line += ["--builtin-schema", "vendor.github-workflows", str(FILE)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_bad_form_is_noticed(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(FILE.read_text(encoding="utf-8").replace("runs-on:", "run-on:", 1))
    line = [str(Path(sys.executable).with_name("check-jsonschema"))]
    line += ["--builtin-schema", "vendor.github-workflows", str(bad)]
    assert subprocess.run(line, capture_output=True).returncode == 1


def test_it_has_no_fault() -> None:
    assert faults(WORKFLOW) == []


def test_it_runs_what_it_should() -> None:
    lines = [
        shlex.join(words)
        for job in WORKFLOW["jobs"].values()
        for step in job["steps"]
        for words in commands(step.get("run", ""))
    ]
    for line in (
        "make setup",
        "make test ARGS=--junit-xml=runs/tests.xml",
        ".venv/bin/ruff check",
        ".venv/bin/autograder build --check",
        ".venv/bin/autograder changed --json '$BASE'",
        ".venv/bin/autograder lint '$WEEK'",
        ".venv/bin/autograder mutants '$WEEK' --generate",
        ".venv/bin/autograder run '$WEEK' --tree '$tree' --profile small --no-network",
        ".venv/bin/autograder run --profile full",
    ):
        assert line in lines, lines
    loop = "for tree in source release/en release/ru; do"
    assert any(loop in s.get("run", "") for s in WORKFLOW["jobs"]["weeks"]["steps"])


def step_of(workflow: Workflow, job: str, word: str) -> dict[str, Any]:
    steps = workflow["jobs"][job]["steps"]
    return next(s for s in steps if word in s.get("run", "") + s.get("uses", ""))


def replace(job: str, word: str, new: str) -> Callable[[Workflow], None]:
    def breaks(workflow: Workflow) -> None:
        step = step_of(workflow, job, word)
        step["run"] = step["run"].replace(word, new)

    return breaks


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        (lambda w: w[ON].pop("schedule"), "it does not run on schedule"),
        (lambda w: w[ON].update(push={"paths": ["weeks/**"]}), "push is filtered"),
        (lambda w: w[ON].update(schedule=[{"cron": "70 2 * * *"}]), "no cron line"),
        (lambda w: w[ON].update(schedule=[{"cron": "17 2 * *"}]), "no cron line"),
        (lambda w: w.pop("permissions"), "rights are more"),
        (lambda w: w.update(permissions={"contents": "write"}), "rights are more"),
        (lambda w: w["jobs"]["test"].update(permissions={}), "rights of its own"),
        (lambda w: w["jobs"]["test"].update({"continue-on-error": True}), "continue-on-error"),
        (
            lambda w: w["jobs"]["test"].update(
                {"if": "!contains(github.event.head_commit.message)"}
            ),
            "head_commit",
        ),
        (lambda w: w["jobs"]["test"].update({"runs-on": "ubuntu-99"}), "no such runner"),
        (lambda w: w["jobs"]["gpu"].pop("if"), "a stranger's pull request"),
        (lambda w: w["jobs"]["test"].pop("timeout-minutes"), "no time limit"),
        (lambda w: w["jobs"]["weeks"].pop("needs"), "nothing gives lint.weeks"),
        (lambda w: step_of(w, "lint", "changed").pop("id"), "no step writes weeks.weeks"),
        (
            lambda w: step_of(w, "lint", "checkout").update(uses="actions/checkout@v5"),
            "not pinned to a commit",
        ),
        (lambda w: step_of(w, "test", "checkout").pop("with"), "leaves its token behind"),
        (lambda w: step_of(w, "weeks", "upload").pop("if"), "no upload of what failed"),
        (
            lambda w: step_of(w, "gpu", "upload")["with"].pop("if-no-files-found"),
            "an upload of nothing passes",
        ),
        (replace("lint", "$BASE", "${{ github.event.before }}"), "an expression in a script"),
        (replace("lint", "make setup", "make set-up"), "no such target"),
        (replace("test", "ARGS=", "ARGUMENTS="), "no such argument"),
        (replace("lint", "build --check", "built --check"), "no such command"),
        (replace("lint", "build --check", "build --chek"), "No such option: --chek"),
        (replace("weeks", "--profile small", "--profile tiny"), "Invalid value for '--profile'"),
        (replace("weeks", "source release/en", "source release/de"), "Invalid value for '--tree'"),
        (replace("gpu", "pytest", "unittest"), "no such module"),
        (replace("weeks", "tee -a", "tea -a"), "no such program"),
        (replace("lint", "ruff check", "ruff chek"), "no such command"),
    ],
)
def test_a_fault_is_noticed(breaks: Callable[[Workflow], Any], said: str) -> None:
    broken = copy.deepcopy(WORKFLOW)
    breaks(broken)
    assert broken != WORKFLOW
    assert any(said in fault for fault in faults(broken)), faults(broken)


@pytest.mark.parametrize("word", ["ruff check", "ruff format"])
def test_the_code_passes_ruff(word: str) -> None:
    """The workflow's own line, without the weeks, which tests/test_weeks.py looks at."""
    _, *arguments = shlex.split(step_of(WORKFLOW, "lint", word)["run"])
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
    script = step_of(WORKFLOW, job, word)["run"]
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | files | variables,
        capture_output=True,
        text=True,
    )
    return done.returncode, written.read_text() if written.exists() else done.stderr


def test_the_step_that_tells_the_weeks(tiny: Path) -> None:
    assert run_step("changed", "lint", tiny, BASE="") == (0, 'weeks=["week01_tiny"]\n')


def test_it_fails_where_they_can_not_be_told(tiny: Path) -> None:
    (tiny / "course.toml").write_text("[course")
    code, said = run_step("changed", "lint", tiny, BASE="")
    assert code == 2 and "not valid TOML" in said


def test_the_step_that_runs_a_week(tiny: Path) -> None:
    line = [sys.executable, "-m", "autograder", "build"]
    subprocess.run(line, cwd=tiny, check=True, capture_output=True)
    code, table = run_step("--no-network", "weeks", tiny, WEEK="week01_tiny")
    assert code == 0 and table.count("week01_tiny/tiny") == 3
    assert (tiny / "runs" / "table.txt").read_text() == table
    for tree in ("source", "release/en", "release/ru"):
        assert (tiny / "runs" / tree / "small" / "junit.xml").is_file()


def test_a_notebook_that_fails_fails_the_step(tiny: Path) -> None:
    code, _ = run_step("--no-network", "weeks", tiny, WEEK="week01_tiny")  # nothing is built
    assert code != 0
