"""I/O to clients: a small HTTP/1.1 server for the Messages API."""
