"""Errors of engines, as errors of Anthropic's API."""
