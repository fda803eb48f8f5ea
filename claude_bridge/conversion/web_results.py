"""What tools of the web gave, in the API's own blocks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from claude_bridge.conversion.builtin_tools import WebTool
from claude_bridge.conversion.request.server_tool_history import seal_content


class SearchHit(Struct, frozen=True, kw_only=True):
    """One result of a search. ``passage`` is what the search service quotes of the page; ``age`` is in its words."""

    url: str
    title: str = ""
    passage: str = ""
    age: str | None = None


def search_content(hits: Sequence[SearchHit]) -> Raw:
    """Return the content of a ``web_search_tool_result``; passages go along sealed, as the API's do."""
    return _encoded(
        [
            {
                "type": "web_search_result",
                "title": hit.title or hit.url,
                "url": hit.url,
                "encrypted_content": seal_content(hit.passage),
                "page_age": hit.age,
            }
            for hit in hits
        ]
    )


def fetch_content(url: str, title: str | None, text: str, retrieved_at: str, *, is_cited: bool) -> Raw:
    """Return the content of a ``web_fetch_tool_result``."""
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": text},
        "title": title,
        "citations": {"enabled": is_cited},
    }
    return _encoded({"type": "web_fetch_result", "url": url, "content": document, "retrieved_at": retrieved_at})


def error_content(tool: WebTool, code: str) -> Raw:
    """Return the content of a result block that reports an error."""
    return _encoded({"type": f"{tool}_tool_result_error", "error_code": code})


def search_citation(url: str, title: str, sealed: str, cited_text: str) -> Raw:
    """Return a citation of a result as the API gives it."""
    return _encoded(
        {
            "type": "web_search_result_location",
            "url": url,
            "title": title or None,
            "encrypted_index": sealed,
            "cited_text": cited_text,
        }
    )


def _encoded(content: object) -> Raw:
    return Raw(msgspec.json.encode(content))
