"""What a person can do: recipes, launching, chatting, sampling."""
