"""The recipes: the list, the form, checks and the command."""
