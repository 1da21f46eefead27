"""What would have been: the model again, with one thing changed and everything else as it was."""
