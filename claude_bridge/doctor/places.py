"""Addresses as they may be shown: without passwords, paths and queries."""

from __future__ import annotations

from urllib.parse import urlsplit


def place_of(url: str) -> str:
    """Return the host and port of a URL, with or without its scheme, or an empty text if it has none."""
    try:
        return urlsplit(url if "://" in url else f"//{url}").netloc.rpartition("@")[2]
    except ValueError:  # half an IPv6 address
        return ""
