"""Alerts: rules over every sample, and who is told of what they say."""
