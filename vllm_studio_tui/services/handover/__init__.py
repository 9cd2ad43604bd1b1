"""Handing a recipe over: to other hosts over ssh, or to a system that places and runs it."""
