"""What a request declares of the web's tools: the limits and filters of each, by its name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from posixpath import normpath
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Raw, Struct

from claude_bridge.conversion.builtin_tools import WebTool, api_tool
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import CountTokensRequest, Tool
from claude_bridge.wire.urls import InvalidUrlError, parse_url


class UserLocation(Struct, frozen=True):
    """Where the user is, for results that suit the place: as far as a service takes it."""

    country: str | None = None
    """Two letters, by ISO 3166."""
    region: str | None = None
    city: str | None = None
    timezone: str | None = None
    """By its IANA name, such as ``Europe/Berlin``."""

    @property
    def country_code(self) -> str:
        """The country in small letters; "" where none is given."""
        return (self.country or "").strip().lower()


class _Citations(Struct, frozen=True):
    enabled: bool = False


class _Source(Struct, frozen=True):
    type: str = "all"
    tools: list[dict[str, Any]] = []

    def takes(self, name: str) -> bool:
        """Return whether what a tool of this name gave counts."""
        is_named = any(tool.get("name") == name for tool in self.tools)
        return {"none": False, "only": is_named, "except": not is_named}.get(self.type, True)


class UrlSources(Struct, frozen=True):
    """Which parts of a conversation may name the URLs that are fetched."""

    user_input: _Source = _Source()
    client_tool_results: _Source = _Source()
    server_tool_results: _Source = _Source()


class Declaration(Struct, frozen=True, kw_only=True):
    """One web tool as the client declares it; fields of all dated versions, and unknown ones are ignored."""

    type: str
    name: str
    max_uses: int | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: UserLocation | None = None
    max_content_tokens: int | None = None
    citations: _Citations | None = None
    url_sources: UrlSources | None = None
    use_cache: bool = True

    @property
    def tool(self) -> WebTool:
        """Which of the two tools it is."""
        return "web_fetch" if self.type.startswith("web_fetch") else "web_search"

    def allows(self, url: str) -> bool:
        """Return whether the lists of domains allow the URL."""
        if self.allowed_domains:
            return any(_covers(domain, url) for domain in self.allowed_domains)
        return not any(_covers(domain, url) for domain in self.blocked_domains or ())


def needs_bridge(tool: Tool, *, is_search_hosted: bool) -> bool:
    """Return whether it is a tool of the web that the bridge must run: the service may search by itself."""
    known = api_tool(tool)
    kind = known.runs_at_api if known else None
    return kind is not None and not (kind == "web_search" and is_search_hosted)


def declared_web_tools(
    request: CountTokensRequest, tools: Sequence[Raw], *, is_search_hosted: bool
) -> dict[str, Declaration]:
    """Return the web tools of a request by name that the bridge must run; ``tools`` are its declarations as they came.

    Raises:
        InvalidRequestError: a field has a wrong value, or both lists of domains are given.
    """
    found: dict[str, Declaration] = {}
    for index, tool in enumerate(request.tools or ()):
        if not needs_bridge(tool, is_search_hosted=is_search_hosted):
            continue
        if [one.name for one in request.tools or ()].count(tool.name) > 1:
            raise InvalidRequestError(f"Tool names must be unique, and {tool.name!r} is not - at `$.tools`")
        try:
            declaration = msgspec.json.decode(tools[index], type=Declaration)
        except msgspec.ValidationError as error:
            raise InvalidRequestError(str(error).replace("`$", f"`$.tools[{index}]", 1)) from error
        if declaration.allowed_domains and declaration.blocked_domains:
            raise InvalidRequestError(
                f"tools.{index}.{declaration.name}: allowed_domains and blocked_domains can't be given together - at "
                f"`$.tools[{index}].blocked_domains`"
            )
        found[declaration.name] = declaration
    return found


def host_of(domain: str) -> str:
    """Return the host of a domain in a list, which may have a path; "" for what is none."""
    return _place(domain.removeprefix("*."))[0]


def _covers(domain: str, url: str) -> bool:
    """Return whether a domain, perhaps with a path, covers a URL: ``example.com`` covers its subdomains too."""
    (host, path), (given_host, given_path) = _place(domain.removeprefix("*.")), _place(url)
    if not host or (given_host != host and not given_host.endswith(f".{host}")):
        return False
    if "*" in path:
        return fnmatchcase(given_path, path) or fnmatchcase(given_path, f"{path}/*")
    return not path or given_path == path or given_path.startswith(f"{path}/")


def _place(url: str) -> tuple[str, str]:
    """Return host and path as they will be requested, so that no other spelling leads around a list."""
    try:
        parsed = parse_url(url if "://" in url else f"https://{url}")
    except InvalidUrlError:
        return "", ""
    return parsed.host.rstrip("."), normpath("/" + unquote(parsed.path).lstrip("/")).rstrip("/")
