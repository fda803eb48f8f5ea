"""What an engine is and offers: identified, and its models read."""
