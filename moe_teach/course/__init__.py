"""The course: what learners type in a notebook, and the machinery behind it.

`from moe_teach.course import check, hint, solution, progress, reset, mine, show, by_mode, setup`
"""

from moe_teach.course.learner.mine.verb import mine
from moe_teach.course.learner.overview import progress
from moe_teach.course.learner.session import by_mode, setup
from moe_teach.course.learner.source_view import show
from moe_teach.course.learner.verbs import check, hint, reset, solution

__all__ = ["by_mode", "check", "hint", "mine", "progress", "reset", "setup", "show", "solution"]
