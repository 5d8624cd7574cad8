"""The commands. No logic here: each reads its arguments, calls one function and prints."""

from __future__ import annotations

import enum
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from autograder import course as course_
from autograder import notebook as nb_
from autograder.errors import CourseError, stop

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from autograder.execution.backend import Backend
    from autograder.results import SubmissionGrade
    from autograder.settings import Settings

app = typer.Typer(
    name="autograder",
    help="Build, prove, run and grade the course.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# A log has no width of its own; rich would take 80 columns and cut the tables.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)

Weeks = Annotated[
    list[str] | None,
    typer.Argument(metavar="[WEEK]...", help="Folder, week01 or 1; all where none is given."),
]
Root = Annotated[
    Path | None, typer.Option(help="The course's folder; else the nearest one with course.toml.")
]


def main() -> None:
    """Run a command; problems go to stderr, one a line, and the exit code is 2."""
    # nbgrader calls `alembic` by name: the environment's own must be found first.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    try:
        app()
    except CourseError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)


def _load(root: Path | None, names: list[str] | None) -> tuple[course_.Course, tuple]:
    course = course_.load(root or course_.find_root(Path.cwd()))
    return course, course.select(names or [])


@app.command()
def build(
    week: Weeks = None,
    check: Annotated[bool, typer.Option(help="Only compare, and write nothing.")] = False,
    root: Root = None,
) -> None:
    """Build source/, release/ and the tables of weeks and tasks; record the graded cells."""
    from autograder.authoring import build as build_
    from autograder.authoring import tasks, topics

    course, weeks = _load(root, week)
    if check:
        files, folders = build_.build_weeks(course, weeks), build_.folders_of(course, weeks)
        found = build_.differences(course.root, folders, files)
        found += build_.strays(course) + build_.stale_readmes(course) + tasks.stale(course)
        found += topics.stale(course)
        if found:
            raise CourseError(found)
        console.print(f"source/ and release/ are what weeks/ builds ({len(files)} files).")
        return
    files = build_.build(course, weeks)
    tasks.write(course)
    topics.write(course)
    console.print(f"Built {len(files)} files of {len(weeks)} week(s).")


@app.command()
def mutants(
    week: Weeks = None,
    generate: Annotated[bool, typer.Option(help="Also make mutants of the references.")] = False,
    notebook: Annotated[str, typer.Option(help="Only this notebook.")] = "",
    task: Annotated[str, typer.Option(help="Only this task's variants.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at once.")] = os.cpu_count() or 1,
    root: Root = None,
) -> None:
    """Prove the tests: the reference passes twice, every mutant fails, every alternative passes."""
    from autograder.authoring import build as build_
    from autograder.authoring import mutants as mutants_
    from autograder.pages import tables

    course, weeks = _load(root, week)
    texts = build_.texts_of(course, weeks, notebook)
    with console.status("Running the references...") as status:
        ended: dict[str, int] = {}

        def count(kind: str) -> None:
            ended[kind] = ended.get(kind, 0) + 1
            status.update("Ended: " + ", ".join(f"{n} {k}" for k, n in ended.items()))

        choose = mutants_.everything if generate else mutants_.authored
        if task:
            choose = mutants_.only(texts, task, choose)
        proofs, problems = mutants_.prove(
            texts, course.root, choose=choose, jobs=jobs, on_event=count
        )
    console.print(tables.proofs(proofs))
    for proof in proofs:
        for variant in proof.survived:
            console.print(f"\n{proof.text.file}: {proof.task}: {variant.kind} survivor")
            console.print(variant.text, markup=False)
    for text in texts:
        counts = [proof.count(mutants_.GENERATED) for proof in proofs if proof.text is text]
        problems += mutants_.too_few_killed(text.file, counts)
    if problems:
        raise CourseError(problems)


@app.command()
def lint(
    week: Weeks = None,
    run: Annotated[bool, typer.Option(help="Also run the untouched student version.")] = True,
    root: Root = None,
) -> None:
    """Check the weeks: form, languages, points, links, pictures, ruff, leaks, built trees."""
    from autograder.authoring import lint as lint_

    course, weeks = _load(root, week)
    problems = [p for one in weeks for p in lint_.lint_week(course, one, run=run)]
    if problems:
        raise CourseError(problems)
    console.print(f"{len(weeks)} week(s) without a problem.")


@app.command()
def prove(
    week: Weeks = None,
    notebook: Annotated[str, typer.Option(help="Only this notebook.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Prove what the receipts hold, too.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: compare with the receipts.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at once.")] = os.cpu_count() or 1,
    network: Annotated[
        bool, typer.Option("--network/--no-network", help="Whether there is one.")
    ] = False,
    root: Root = None,
) -> None:
    """All gates of weeks, as far as their receipts (proof.json) do not hold, and new receipts."""
    if not network:
        _go_offline([*(a for a in sys.argv[1:] if a != "--no-network"), "--network"])
    from autograder.authoring import proofs as proofs_
    from autograder.authoring import tasks
    from autograder.pages import tables

    course, weeks = _load(root, week)
    with console.status("Proving...") as status:
        outcomes, problems = proofs_.prove(
            course,
            weeks,
            notebook=notebook,
            again=again,
            timed=not check,
            jobs=jobs,
            tell=status.update,
        )
    tried = [proof for outcome in outcomes for proof in outcome.proofs]
    if tried:
        console.print(tables.proofs(tried))
        console.print(tables.runs([o.report for o in outcomes if o.report]))
    for proof in tried:
        for variant in proof.survived:
            console.print(f"\n{proof.text.file}: {proof.task}: {variant.kind} survivor")
            console.print(variant.text, markup=False)
    if check:
        problems += proofs_.differences(course, outcomes)
    else:
        proofs_.write(course, outcomes)
        tasks.write(course)
    if problems:
        raise CourseError(problems)
    believed = sum(outcome.need is None for outcome in outcomes)
    console.print(f"{len(outcomes)} notebook(s) proven, {believed} of them by receipt.")


class Profile(enum.StrEnum):
    """How much a notebook does."""

    small = "small"
    full = "full"


class Tree(enum.StrEnum):
    """Which notebooks: the instructor's or what students open."""

    source = "source"
    english = "release/en"
    russian = "release/ru"


class Tier(enum.StrEnum):
    """Where CI runs a notebook in full, as its week.toml tells."""

    cpu = "cpu"
    gpu = "gpu"


@app.command()
def run(
    week: Weeks = None,
    profile: Annotated[Profile, typer.Option(help="How much the notebooks do.")] = Profile.small,
    tree: Annotated[
        Tree, typer.Option(help="In a release only NotImplementedError may end a cell.")
    ] = Tree.source,
    tier: Annotated[
        Tier | None, typer.Option(help="Only those that CI runs in full there.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at once.")] = 1,
    network: Annotated[
        bool, typer.Option("--network/--no-network", help="Whether there is one.")
    ] = True,
    root: Root = None,
) -> None:
    """Restart & Run All: every notebook from top to bottom, with time and memory."""
    from autograder import exams as exams_
    from autograder.execution import runall
    from autograder.pages import tables

    course, weeks = _load(root, week)
    tiers = [tier.value] if tier else course_.TIERS
    notebooks = course_.notebooks_of(course, weeks, tree.value, excluded=False, tiers=tiers)
    if not network:
        _go_offline([a for a in sys.argv[1:] if a != "--no-network"])
    folder = course.root / "runs" / tree.value / profile.value
    variables = exams_.variables(course, weeks, profile.value) if tree is Tree.source else {}
    with _progress() as bar:
        running = bar.add_task("Running notebooks", total=len(notebooks))
        reports = runall.run_all(
            notebooks,
            output_dir=folder,
            profile=profile.value,
            jobs=jobs,
            untouched=tree is not Tree.source,
            variables=variables,
            on_done=lambda report: bar.update(running, advance=1),
        )
    folder.mkdir(parents=True, exist_ok=True)  # there may be no notebook of that tier
    (folder / "junit.xml").write_text(runall.junit_xml(reports), encoding="utf-8")
    console.print(tables.runs(reports))
    console.print(f"Executed copies and junit.xml: {folder}")
    failed = [report for report in reports if not report.ok]
    for report in failed:
        print(f"error: {report.notebook}: {report.error}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def _go_offline(arguments: list[str]) -> None:
    """Run the command with these arguments where there is no network, and end as it ends."""
    from autograder.execution import runall, sandbox

    try:
        line = [sys.executable, "-m", "autograder", *arguments]
        sys.exit(runall.rerun_without_network(line))
    except sandbox.SandboxError as error:
        raise stop("--no-network", "", "sandbox", str(error)) from None


@app.command()
def private(
    week: Weeks = None,
    profile: Annotated[Profile, typer.Option(help="For which profile.")] = Profile.small,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Draw the same each time; else nobody can know it.")
    ] = None,
    root: Root = None,
) -> None:
    """Make the private inputs and answers of exams, anew. Grading a week with an exam needs them.

    They lie in private/, which git ignores: keep a copy, since other inputs give other scores.
    """
    from autograder import exams as exams_

    course, weeks = _load(root, week)
    for one in weeks:
        notebooks = map(nb_.read, course_.notebooks_of(course, [one], "source"))
        tasks = [task for notebook in notebooks for task in nb_.exams(notebook)]
        if tasks:
            for path in exams_.write(course, one, tasks, profile.value, seed):
                console.print(f"{path.relative_to(course.root)}", soft_wrap=True)
        elif week:
            console.print(f"{one.folder} has no exam.")


@app.command()
def grade(
    week: Annotated[str, typer.Argument(help="Folder, week01 or 1.")],
    student: Annotated[list[str] | None, typer.Option(help="Only this student.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at once.")] = os.cpu_count() or 1,
    scheduler: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run on the workers of this Dask scheduler.")
    ] = "",
    tls_ca: Annotated[Path | None, typer.Option(help="Certificate of who signed theirs.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Our certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Run without a sandbox. The results say so.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Run what did not change, too.")] = False,
    root: Root = None,
) -> None:
    """Grade the submissions of a week: run, record, feedback, table and report.

    What did not change since is not run again, and a run that was ended goes on where it was.

    Exit code: 0 if all are graded; 3 if a person has to look at one that is flagged or refused;
    2 if grading could not begin or go on.
    """
    from autograder import settings as settings_
    from autograder.execution.cluster import Tls
    from autograder.fingerprints import library_of
    from autograder.grading import grade as grade_

    course, (one,) = _load(root, [week])
    students = grade_.submissions(course, one, student or [])
    settings = settings_.load(course, unsafe=unsafe)
    backend = grade_.backend_of(
        settings,
        jobs=jobs,
        scheduler=scheduler,
        tls=Tls(tls_ca, tls_cert, tls_key),
        library=library_of(one),
        tell=_tell,
    )
    grades = _grade(course, one, students, settings, backend, again=again)
    sys.exit(grade_.exit_code(grades))


@app.command()
def changed(
    base: Annotated[
        str, typer.Argument(help="A commit; all weeks where it is unknown or empty.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="One list, not one a line.")] = False,
    machine: Annotated[
        bool,
        typer.Option("--machine", help="Tell whether they concern the machine: true or false."),
    ] = False,
    root: Root = None,
) -> None:
    """Tell which weeks the commits from BASE to HEAD concern."""
    from json import dumps

    from autograder import changes

    course, weeks = _load(root, None)
    paths = changes.paths_changed(course.root, base)
    if machine:
        print(dumps(paths is None or changes.machine_changed(paths)))
        return
    if paths is not None:
        weeks = changes.weeks_changed(course, paths)
    folders = [week.folder for week in weeks]
    print(dumps(folders) if json else "\n".join(folders))


@app.command()
def fetch(week: Weeks = None, root: Root = None) -> None:
    """Bring the data and models that weeks load into the cache, so that they run offline."""
    from practical_dl import data, models

    _, weeks = _load(root, week)
    for name in dict.fromkeys(name for one in weeks for name in one.data):
        try:
            data.fetch(name)
        except data.DataError as error:
            raise stop("data", name, "data", str(error)) from None
        console.print(f"The data set {name} is there.")
    for name in dict.fromkeys(name for one in weeks for name in one.models):
        try:
            models.load(name, quiet=True)
        except models.ModelError as error:
            raise stop("models", name, "models", str(error)) from None
        console.print(f"The model {name} is there.")


@app.command()
def doctor(root: Root = None) -> None:
    """Tell what this machine has, and a remedy for each thing that it lacks."""
    from autograder import doctor as doctor_

    findings = doctor_.examine((root or course_.find_root(Path.cwd())).absolute())
    for one in findings:
        mark = "ok" if one.ok else "MISSING" if one.needed else "lacks"
        print(f"{mark:<8} {one.name:<12} {one.found}")
        if one.remedy:
            print(f"{'':<21} -> {one.remedy}")
    ready = doctor_.can_grade(findings)
    print("This machine can grade." if ready else "What is MISSING is needed to grade.")
    sys.exit(0 if ready else 1)


@app.command()
def demo(
    week: Annotated[str, typer.Argument(help="Folder, week01 or 1.")] = "week01",
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at once.")] = os.cpu_count() or 1,
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Write the week's class.json, by which tests go.")
    ] = False,
    root: Root = None,
) -> None:
    """Grade a small class made by code, in demo/, and compare with the scores known before."""
    from autograder import demo as demo_
    from autograder import settings as settings_
    from autograder.grading import grade as grade_

    course, (one,) = _load(root, [week])
    own, students = demo_.set_up(course, one)
    settings = settings_.load(own)
    backend = grade_.backend_of(settings, jobs=jobs, tell=_tell)
    grades = _grade(own, one, [s.name for s in students], settings, backend)
    if found := demo_.differences(students, grades):
        for line in found:
            print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
    if receipt:
        demo_.write_receipt(course, one, len(students))
    console.print(f"All {len(students)} students got the score that was computed before.")


def _grade(
    course: course_.Course,
    week: course_.Week,
    students: list[str],
    settings: Settings,
    backend: AbstractContextManager[Backend],
    **options: Any,
) -> list[SubmissionGrade]:
    from autograder.grading import grade as grade_
    from autograder.pages import report, tables

    with backend as running_on, _progress() as bar:
        running = bar.add_task("Running notebooks", total=None)
        recording = bar.add_task("Recording", total=len(students))
        grades = grade_.grade(
            course,
            week,
            students,
            backend=running_on,
            settings=settings,
            progress=grade_.Progress(
                on_run=lambda total: bar.update(running, advance=1, total=total),
                on_record=lambda: bar.update(recording, advance=1),
                tell=_tell,
            ),
            **options,
        )
    console.print(tables.grades(week, grades))
    page = report.write(course, week, grade_.whole_class(course, week, grades, settings))
    console.print(f"Report: {page}", soft_wrap=True)
    console.print(f"Feedback: {course.root / 'feedback'}", soft_wrap=True)
    return grades


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
