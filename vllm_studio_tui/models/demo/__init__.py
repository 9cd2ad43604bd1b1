"""The demo model: where it can be got from, and getting it once."""
