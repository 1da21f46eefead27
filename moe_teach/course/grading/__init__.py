"""Grading: collect what people handed in, judge it apart from the answers, keep the gradebook."""
