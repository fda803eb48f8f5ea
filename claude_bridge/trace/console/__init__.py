"""The debug log for a person at a terminal."""
