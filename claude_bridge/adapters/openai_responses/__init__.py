"""OpenAI's Responses API: ``request`` encodes a request, ``stream`` decodes its response."""
