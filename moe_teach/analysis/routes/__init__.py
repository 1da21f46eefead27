"""Routes: what the routers of a model chose for every token, as a record that can be kept."""
