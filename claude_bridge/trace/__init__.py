"""What happened: events out of an exchange, sinks that show or keep them."""
