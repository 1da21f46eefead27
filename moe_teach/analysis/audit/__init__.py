"""An audit: what a model's routers did with one text, as a record that a page can be made of."""
