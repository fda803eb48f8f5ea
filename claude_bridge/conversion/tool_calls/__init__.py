"""Tool calls of an answer: found, gathered whole, and checked against the tool's schema."""
