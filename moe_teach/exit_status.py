"""What the command's exit status says: shells and graders read it."""

DONE, FAILED, USAGE, FAULT = range(4)
INTERRUPTED = 130  # what shells use for Ctrl-C
