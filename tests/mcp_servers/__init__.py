"""MCP servers that tests start: one as it should be, and hostile ones."""
