"""The command-line face: one file per noun."""
