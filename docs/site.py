"""Builds the site of the documentation: pip install -r docs/requirements.txt && python docs/site.py.

Zensical does not look outside its folder, so pages at the root of the checkout are copied beside the others first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build"
PAGES = {"CHANGELOG": "changes", "CONTRIBUTING": "contributing", "SECURITY": "security"}

_TO_ROOT = re.compile(rf"\]\(\.\./((?:\.\./)*)({'|'.join(PAGES)})\.md")


def main() -> int:
    """Build the site in build/site; return the exit code, which is not 0 if a link leads nowhere."""
    shutil.rmtree(BUILD / "docs", ignore_errors=True)
    shutil.copytree(ROOT / "docs", BUILD / "docs", ignore=shutil.ignore_patterns("*.py", "*.txt", "mkdocs.yml"))
    for page in (BUILD / "docs").rglob("*.md"):
        text = page.read_text("utf-8")
        page.write_text(_TO_ROOT.sub(lambda link: f"]({link[1]}{PAGES[link[2]]}.md", text), "utf-8")
    for name, page_name in PAGES.items():
        text = (ROOT / f"{name}.md").read_text("utf-8")
        (BUILD / "docs" / f"{page_name}.md").write_text(text.replace("](docs/", "]("), "utf-8")
    settings = (ROOT / "docs" / "mkdocs.yml").read_text("utf-8")
    (BUILD / "mkdocs.yml").write_text(settings + navigation(BUILD / "docs"), "utf-8")
    return subprocess.call([sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=BUILD)


def navigation(folder: Path) -> str:
    """Return the navigation in YAML: the sections of index.md with the pages that they link to, then all others."""
    lines, seen = ["nav:", "  - index.md"], {"index.md"}
    _, *sections = (folder / "index.md").read_text("utf-8").split("\n## ")
    for section in sections:
        pages = [page for page in re.findall(r"\]\(([\w/-]+\.md)\)", section) if page not in seen]
        lines += [f"  - {section.partition(chr(10))[0]}:", *(f"      - {page}" for page in pages)]
        seen.update(pages)
    others = sorted({page.relative_to(folder).as_posix() for page in folder.rglob("*.md")} - seen)
    return "\n".join([*lines, "  - More:", *(f"      - {page}" for page in others)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
