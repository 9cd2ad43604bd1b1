"""Sampling runs, engines, GPUs and the host, now and over time."""
