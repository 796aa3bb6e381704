"""Read access for AI assistants by the Model Context Protocol at /mcp: find and explain orders."""
