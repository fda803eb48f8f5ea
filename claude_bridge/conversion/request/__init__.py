"""From a client's request to an Anthropic request that one engine can take."""
