"""Launching, switching and stopping runs, and what is looked at before."""
