"""Frozen values and rules: recipes, runs, chats, metrics, usage, errors, events."""
