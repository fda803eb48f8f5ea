"""What the documentation says is so: options, endpoints, links, dependencies and cited traps."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from claude_bridge.cli import app
from claude_bridge.server.http1 import Limits
from claude_bridge.server.routes import ROUTES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GOLDEN = sorted((ROOT / "tests" / "golden").rglob("about.md"))


def _commands() -> dict[str, set[str]]:
    group = typer.main.get_command(app)
    commands = getattr(group, "commands", {})
    return {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for name, command in commands.items()
    }


def _section(page: str, heading: str) -> str:
    text = (ROOT / "docs" / "reference" / page).read_text("utf-8")
    return next(part for part in text.split("\n## ") if part.startswith(heading))


@pytest.mark.parametrize(("command", "options"), _commands().items())
def test_the_reference_has_every_option_of_a_command(command: str, options: set[str]) -> None:
    section = _section("cli.md", f"`bridge {command}")

    documented = set(re.findall(r"--[a-z-]+", section)) | {"--help"}

    assert options - {"--check"} <= documented  # --check is what --no-check turns off


def test_the_reference_has_every_endpoint() -> None:
    page = (ROOT / "docs" / "reference" / "http.md").read_text("utf-8")

    missing = [path for path in ROUTES if f"{path.rstrip('/') or '/'}" not in page]

    assert missing == []


def test_the_reference_has_the_limits_that_hold() -> None:
    section = _section("http.md", "Limits")
    limits = Limits()

    assert f"| headers | {limits.max_header_bytes // 1024} KiB, within {limits.header_timeout_s:.0f} s |" in section
    assert f"| body | {limits.max_body_bytes // 1024**2} MiB, within {limits.body_timeout_s:.0f} s |" in section
    assert f"closed after {limits.idle_timeout_s:.0f} s" in section
    assert f"given up after {limits.write_timeout_s / 60:.0f} minutes" in section


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))

    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`((?:claude_bridge|tests|docs|benchmarks)/[\w/.]+)`", page.read_text("utf-8"))

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = [re.split(r"[<>=;\[ ]", requirement)[0] for requirement in project["dependencies"]]
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text("utf-8")

    assert [name for name in names if f"| {name} |" not in page] == []
    assert [extra for extra in project["optional-dependencies"] if f"`{extra}`" not in page] == []


def test_every_trap_that_a_golden_case_cites_is_listed() -> None:
    page = (ROOT / "docs" / "reference" / "engines.md").read_text("utf-8")
    listed = {number for row in re.findall(r"^\| ([T\d, ]+) \|", page, re.MULTILINE) for number in row.split(", ")}
    cited = {
        number
        for about in GOLDEN
        for phrase in re.findall(r"\btraps? ((?:T?\d+(?:, | and )?)+)", about.read_text("utf-8"), re.IGNORECASE)
        for number in re.findall(r"T?\d+", phrase)
    }

    assert len(cited) > 10
    assert cited - listed == set()
