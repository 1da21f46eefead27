"""Which examples are worth a step: scores, and ways of choosing by them."""
