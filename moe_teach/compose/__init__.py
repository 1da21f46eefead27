"""Models taken apart and put together: upcycling, merging, tuning of parts, experts as modules."""
