"""The terminal: corrections of Textual's handling of it, the clipboard, the editor."""
