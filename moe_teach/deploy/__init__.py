"""Models outside the notebook: where memory is short, and where others ask for answers."""
