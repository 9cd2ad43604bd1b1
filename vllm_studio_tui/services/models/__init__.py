"""The models on this machine with who uses them, and what deleting one would do."""
