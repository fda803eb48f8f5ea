"""OpenAI-compatible Chat Completions: ``request`` encodes a request, ``stream`` decodes its response."""
