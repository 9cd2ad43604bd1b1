"""A terminal studio for LLM inference servers."""

__version__ = "0.1.0"
