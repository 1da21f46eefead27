"""nbgrader's settings for the course: each chapter is an assignment."""

c = get_config()  # noqa: F821 (nbgrader defines it)
c.CourseDirectory.course_id = "moe"
# A check answers in a second or two; on a machine that grades a whole class it may have to wait.
c.ExecutePreprocessor.timeout = 120
