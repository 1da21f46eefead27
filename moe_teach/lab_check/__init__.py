"""Does the course open and run? JupyterLab and a browser say so, for `make` and for the tests."""
