"""Tools for models: MCP servers, and the built-in ones."""
