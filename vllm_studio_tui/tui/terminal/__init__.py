"""The terminal itself: what Textual gets wrong on it, the clipboard, the editor."""
