"""I/O to engines: the HTTP client, what can be found out about them, and the embedded one."""
