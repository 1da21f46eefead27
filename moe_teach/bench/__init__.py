"""`moe-teach bench`: the one place for timings, always as ratios measured in the same run."""
