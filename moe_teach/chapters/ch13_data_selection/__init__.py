"""Chapter 13: its exercises and the lesson's questions, in their order."""

from moe_teach.chapters.ch13_data_selection import row_learnability

EXERCISES = (row_learnability.EXERCISE,)
QUESTIONS = ()
