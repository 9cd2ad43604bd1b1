"""Dialogs that open over a screen: questions, lists to choose from, text prompts, help."""
