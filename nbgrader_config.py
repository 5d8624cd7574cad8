"""nbgrader's settings for this course: its own commands and formgrader go through our grader.

nbgrader reads this file in the course's folder. `nbgrader generate_assignment` makes the English
release; for the Russian one add
`--CourseDirectory.release_directory=release/ru --SelectLanguage.language=ru`.
"""

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    GetGrades,
    SaveAutoGrades,
)

from autograder import steps
from autograder.grading.preprocessors import (
    CleanFeedback,
    ExecuteSubmission,
    FitPictures,
    GraftSubmission,
    TolerantExporter,
)

c = get_config()  # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = "practical_dl"
c.CourseDirectory.source_directory = "source"
c.CourseDirectory.release_directory = "release/en"

c.GenerateAssignment.preprocessors = steps.GENERATE_ASSIGNMENT

c.Autograde.exporter_class = TolerantExporter
c.Autograde.sanitize_preprocessors = [GraftSubmission, CheckCellMetadata]
c.Autograde.autograde_preprocessors = [
    ExecuteSubmission,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]

c.GenerateFeedback.preprocessors = [
    GetGrades,
    CleanFeedback,
    CSSHTMLHeaderPreprocessor,
    FitPictures,
]
