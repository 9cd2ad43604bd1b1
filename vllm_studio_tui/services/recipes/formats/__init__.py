"""How recipes are read from what other tools keep: a file for each format, listed in `registry.py`."""
