"""One module per chapter: the staged checks of its exercises and the questions of its lesson."""
