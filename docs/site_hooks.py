"""Makes pages of the site from the files at the root of the checkout that the documentation links to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {"CHANGELOG": "changes", "CONTRIBUTING": "contributing", "SECURITY": "security"}

_TO_ROOT = re.compile(rf"\]\(\.\./((?:\.\./)*)({'|'.join(PAGES)})\.md")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages; their links lead into docs/, which is the root of the site."""
    for name, page in PAGES.items():
        text = (ROOT / f"{name}.md").read_text("utf-8").replace("](docs/", "](")
        files.append(File.generated(config, f"{page}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links to those files at their pages."""
    return _TO_ROOT.sub(lambda link: f"]({link[1]}{PAGES[link[2]]}.md", markdown)
