"""What the user has settled beforehand, in a file and in the environment."""
