"""Attachments that need I/O or heavy libraries: fetched, read or described once, before the pure conversion."""
