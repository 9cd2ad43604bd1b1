"""The logs: what engines wrote, and why they failed."""
