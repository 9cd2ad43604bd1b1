"""Settings, packaged data, theme and keymap files."""
