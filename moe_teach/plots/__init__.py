"""Static figures, drawn from the same records that the widgets take: one module per subject."""
