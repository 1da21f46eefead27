"""Expert modules: experts as files that fit one trunk, are installed, measured and taken out."""
