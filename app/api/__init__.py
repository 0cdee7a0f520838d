"""The endpoints for programs and MCP clients, one file per tab."""
