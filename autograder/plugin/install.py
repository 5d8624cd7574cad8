"""What nbgrader_config.py calls. It is light: `autograder` reads those settings, too."""

from __future__ import annotations

import sys

from traitlets.config import Config


def install(config: Config) -> None:
    """Lead nbgrader's own commands and formgrader through our code.

    nbgrader has no setting for the class that grades: its command and its API take the name
    `Autograde` from their own modules, so there it is replaced. nbgrader has imported both before
    it reads its settings; `autograder`, which reads them too, has not, and needs none of this.
    """
    # Should nbgrader's own class ever be about to run, it stops at this.
    config.Autograde.exporter_class = "autograder.plugin.autograde.NotInstalled"
    config.GenerateFeedback.exporter_class = "autograder.plugin.feedback.FeedbackExporter"
    config.GenerateFeedback.preprocessors = []
    config.ExportApp.setdefault("plugin_class", "autograder.plugin.export.CsvExporter")
    # Formgrader's pages show what students wrote and what their code put out.
    config.HTMLExporter.sanitize_html = True
    config.HTMLExporter.preprocessors = ["autograder.plugin.pages.SanitisePage"]
    config.HTMLExporter.filters = {
        "clean_html": "autograder.plugin.pages.html_filter",
        "markdown2html": "autograder.plugin.pages.markdown_filter",
        "strip_files_prefix": "autograder.plugin.pages.same_filter",
    }
    if "nbgrader.apps.api" in sys.modules:
        from autograder import steps
        from autograder.plugin import autograde

        config.GenerateAssignment.preprocessors = steps.GENERATE_ASSIGNMENT
        autograde.install()
