"""The exam of a model: short tasks through the bridge's own path, in a world in memory, and what they show."""
