"""Learner's code in a process of its own: the wire, what runs at its other end, and its walls."""
