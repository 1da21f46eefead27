"""Interactive figures: one trio name.py, name.js, name.css each, drawn in the browser.

They take records and plain numbers, never models, and live without a kernel too.
"""
