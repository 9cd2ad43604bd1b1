"""Why engines fail: one row for each cause."""
