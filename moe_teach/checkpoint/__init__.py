"""Saving and loading: what was written is what is read, or an error says why not."""
