"""What the user has configured, in a file and in environment variables."""
