"""What stands before a screen: questions, choosers, prompts, help."""
