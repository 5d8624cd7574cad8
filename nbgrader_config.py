"""nbgrader's settings for this course; `autograder` reads them, too.

`install` leads nbgrader's own commands and formgrader through our grader, and cleans what
formgrader's pages show.
`nbgrader generate_assignment` makes the English release; for the Russian one add
`--CourseDirectory.release_directory=release/ru --SelectLanguage.language=ru`.
"""

from autograder.plugin.install import install

c = get_config()  # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = "practical_dl"
c.CourseDirectory.source_directory = "source"
c.CourseDirectory.release_directory = "release/en"

# The gradebook is gradebook.db in this folder. Where several people grade, let it be PostgreSQL
# (with the extra `postgres`), on every machine the same:
# c.CourseDirectory.db_url = "postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE"

# Limits of one notebook, and more: see `Grader` in autograder/settings.py.
# c.Grader.cell_seconds = 60

install(c)
