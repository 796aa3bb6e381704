"""The same orders for assistants, by the Model Context Protocol at /mcp: find, explain, what needs a person."""
