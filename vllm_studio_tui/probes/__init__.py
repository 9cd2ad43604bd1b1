"""Readers of GPUs, host and engine metrics."""
