"""Hosts without a studio, looked at over ssh: one connection, a loop of its shell, and nothing that is installed."""
