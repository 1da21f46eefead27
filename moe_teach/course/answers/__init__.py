"""One module per chapter: named wrong answers and other right ones, used by `author verify`."""
