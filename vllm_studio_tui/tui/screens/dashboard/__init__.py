"""The dashboard: what runs, how well, and what can be launched."""
