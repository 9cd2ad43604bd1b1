"""The chat's document: blocks that draw themselves, in one widget."""
