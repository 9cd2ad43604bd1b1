"""Benchmarks: how an engine answers a load that is made for it."""
