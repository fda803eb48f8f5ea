"""The prompt as a whole: how long it is, what fits, and whether its prefix stayed the same."""
