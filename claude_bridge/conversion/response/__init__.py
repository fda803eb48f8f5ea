"""From an engine's deltas to the legal event stream of an answer."""
