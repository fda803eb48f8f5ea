"""Ollama's own /api/chat: ``request`` encodes a request, ``stream`` decodes its response, ``errors`` explains."""
