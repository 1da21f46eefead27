"""Training: one loop, its losses, its record, and the experiments made of many runs."""
