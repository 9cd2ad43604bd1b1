"""Model files on disk: the demo model, model folders, headers."""
