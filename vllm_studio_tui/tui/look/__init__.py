"""Themes, colours and size classes."""
