"""Recipes: keeping, editing, importing."""
