"""All actions with their default keys, and the user's keymap."""
