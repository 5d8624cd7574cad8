"""The parts that nbgrader calls: nbgrader_config.py puts them into its lists.

`nbgrader autograde`: TolerantExporter reads a submission, GraftSubmission sanitises it,
ExecuteSubmission runs it in the sandbox; nbgrader's SaveAutoGrades records it.
`nbgrader generate_feedback`: CleanFeedback hides what students must not see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbformat.v4 import new_notebook, new_output
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float, Integer, Unicode

from autograder import notebook as nb_
from autograder.execution.execute import Limits
from autograder.grading import intake
from autograder.grading.graft import graft
from autograder.grading.run import apply_result, job_of, run, tampered_with


class TolerantExporter(NotebookExporter):
    """Reads what nbformat would refuse; a file beyond repair becomes an empty, refused notebook.

    So one bad file never costs a student the other notebooks, and each graded cell gets its row.
    """

    def from_file(
        self, file_stream: Any, resources: Any = None, **kw: Any
    ) -> tuple[NotebookNode, Any]:
        """Read the file through intake.read."""
        try:
            notebook = intake.read(Path(file_stream.name).read_bytes())
        except intake.IntakeError as error:
            notebook = new_notebook(metadata={nb_.KEY: {"refused": str(error)}})
        return self.from_notebook_node(notebook, resources=resources, **kw)


class _FromSource(NbGraderPreprocessor):
    """A step that needs the instructor's notebook. nbgrader works in the course's root."""

    source_directory = Unicode("source", help="Where the source notebooks lie.").tag(config=True)

    def source_of(self, resources: Any) -> tuple[NotebookNode, Path]:
        folder = Path(self.source_directory) / resources["nbgrader"]["assignment"]
        return nb_.read(folder / f"{resources['nbgrader']['notebook']}.ipynb"), folder


class GraftSubmission(_FromSource):
    """Replace a submission by the instructor's notebook with the student's sources in it."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Graft; what is worth telling stands in the notebook's metadata."""
        refused = nb_.ours(nb).get("refused", "")
        source, _ = self.source_of(resources)
        grafted = graft(source, None if refused else nb)
        grafted.notebook.metadata[nb_.KEY] = {
            "flags": list(grafted.flags),
            "language": grafted.language,
            "notes": list(grafted.notes),
            "refused": refused,
        }
        return grafted.notebook, resources


class ExecuteSubmission(_FromSource):
    """Run a grafted notebook in the sandbox, or take the result of the same run from the cache."""

    unsafe = Bool(False, help="Run without a sandbox. The results say so.").tag(config=True)
    cache = Unicode(".grading", help="Where results are kept.").tag(config=True)
    cell_seconds = Float(60, help="Time limit of a cell.").tag(config=True)
    notebook_seconds = Float(600, help="Time limit of a notebook.").tag(config=True)
    memory_mib = Integer(4096, help="Memory limit of a notebook.").tag(config=True)

    @property
    def limits(self) -> Limits:
        """The limits that the traits set."""
        return Limits(
            cell_seconds=self.cell_seconds,
            notebook_seconds=self.notebook_seconds,
            memory_mib=self.memory_mib,
        )

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Run; put outputs, verdicts and flags into the notebook."""
        source, folder = self.source_of(resources)
        job = job_of(nb, source, helper_files(folder), self.limits)
        result = run(job, Path(self.cache), sandbox=not self.unsafe)
        apply_result(nb, result)
        ours = nb.metadata[nb_.KEY]
        if tasks := tampered_with(result):
            what = "pass on a planted mistake: they were tampered with"
            ours["flags"].append(f"the checks of {', '.join(tasks)} {what}")
        if result.message:
            ours["flags"].append(result.message)
        ours["sandboxed"] = result.sandboxed
        ours["seconds"] = round(result.seconds, 3)
        return nb, resources


class CleanFeedback(NbGraderPreprocessor):
    """Take hidden tests, what they printed, and rubrics out of a feedback page."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Show each test cell as students have it, with its verdict as the only output."""
        nb.cells = [c for c in nb.cells if "rubric" not in nb_.ours(c)]
        secret = {
            line
            for cell in nb.cells
            for line in nb_.hidden_regions(cell.source)
            if line not in nb_.without_hidden(cell.source) and len(line) > 8
        }
        for cell in nb.cells:
            if nb_.is_graded(cell) and not nb_.is_solution(cell):
                cell.source = nb_.without_hidden(cell.source)
                message = nb_.ours(cell).get("message", "") + "\n"
                cell.outputs = [new_output("stream", name="stdout", text=message)]
            elif cell.cell_type == "code":
                cell.outputs = [_redacted(output, secret) for output in cell.outputs]
        return nb, resources


class FitPictures(NbGraderPreprocessor):
    """Keep wide pictures within a feedback page."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Add one rule to the styles that CSSHTMLHeaderPreprocessor has gathered."""
        resources["inlining"]["css"].append("img { max-width: 100%; height: auto; }")
        return nb, resources


def _redacted(value: Any, secret: set[str]) -> Any:
    """An output without the lines of hidden tests, which a student's code may have printed."""
    if isinstance(value, str):
        if any(line in value for line in secret):
            lines = value.split("\n")
            hidden = "[a line of a hidden test]"
            value = "\n".join(hidden if any(s in t for s in secret) else t for t in lines)
            for line in secret:
                value = value.replace(line, hidden)
        return value
    if isinstance(value, list):
        return [_redacted(v, secret) for v in value]
    if isinstance(value, dict):
        return type(value)({k: _redacted(v, secret) for k, v in value.items()})
    return value


def helper_files(folder: Path) -> dict[str, bytes]:
    """The files beside a week's notebooks that their code may open."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix not in (".ipynb", ".md")
        and "__pycache__" not in str(path)
    }
