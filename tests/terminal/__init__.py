"""The studio in a real terminal: a pty with an emulated screen behind it."""
