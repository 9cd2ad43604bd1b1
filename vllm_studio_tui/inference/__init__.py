"""Talking to engines: streaming, delta reading, thinking and tool-call parsing."""
