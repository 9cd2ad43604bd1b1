"""Tools that chats and coding agents may use, and what a person allowed."""
