"""The gradebook in the forms that other programs read: tables for platforms, JSON for tools."""
