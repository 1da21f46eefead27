"""Everything worth knowing about a GPU, by one command that may be cut short at any moment."""
