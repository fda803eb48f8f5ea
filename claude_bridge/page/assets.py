"""The front end's files, and the policies that keep everything else out of the page."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}

NAMES = ("page.css", "views.js", "page.js", "live.js")
"""Files that the live page loads by their names."""

LIVE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@cache
def text(name: str) -> str:
    """Return a file of the front end."""
    return (Path(__file__).parent / name).read_text("utf-8")


def media_type(name: str) -> str:
    """Return the type of a file of the front end."""
    return _TYPES[name.rpartition(".")[2]]


def live_page() -> bytes:
    """Return the page that asks this bridge for everything."""
    links = '<link rel="stylesheet" href="/page/page.css">'
    scripts = "".join(f'<script src="/page/{name}" defer></script>' for name in NAMES if name.endswith(".js"))
    return _filled(head=links, data="", scripts=scripts).encode()


def page_around_data() -> tuple[bytes, bytes]:
    """Return what stands before and behind the JSON data of a page that is one file."""
    style, script = text("page.css"), text("views.js") + text("page.js")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{style}</style>'
    before, _, behind = _filled(head=head, data="\0", scripts=f"<script>{script}</script>").partition("\0")
    return before.encode(), behind.encode()


def sign_in_page() -> tuple[bytes, str]:
    """Return the page that asks for the key, and its policy: its style is in it, as no file is sent without the key."""
    page = text("sign_in.html")
    style = page.partition("<style>")[2].partition("</style>")[0]
    return page.encode(), LIVE_POLICY.replace("style-src 'self'", f"style-src '{_digest(style)}'")


def _filled(*, head: str, data: str, scripts: str) -> str:
    page = text("page.html")
    for place, content in (("<!-- head -->", head), ("<!-- data -->", data), ("<!-- scripts -->", scripts)):
        page = page.replace(place, content)
    return page


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
