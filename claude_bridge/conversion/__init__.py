"""Meaning: pure functions and state machines between the shapes of the wire."""
