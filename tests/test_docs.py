"""What the documentation says is so: options, endpoints, links, dependencies and cited traps."""

from __future__ import annotations

import ast
import html
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from claude_bridge.attachments.prepare import FETCH_LIMIT_S, MAX_ATTACHMENTS
from claude_bridge.config import locate
from claude_bridge.config.load import OPTION_VARIABLES, read_config
from claude_bridge.config.schema import Defaults, Server, Web, settings_of, variable_of
from claude_bridge.conversion.tool_json.schema_reduce import MAX_SCHEMA_BYTES
from claude_bridge.conversion.tool_json.text import MAX_JSON_DEPTH
from claude_bridge.server.http1 import ServerLimits
from claude_bridge.server.request_head import MAX_FIELDS, MAX_TARGET_BYTES
from claude_bridge.server.routes import ROUTES
from claude_bridge.spending import Budget
from claude_bridge.wire.anthropic_codec import (
    BUDGETS,
    MAX_BLOCKS,
    MAX_CONTINUATION_BYTES,
    MAX_MESSAGES,
    MAX_STOP_CHARS,
    MAX_TOOLS,
)
from tests import reference

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "README.ja.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
GOLDEN = sorted((ROOT / "tests" / "golden").rglob("case.toml"))


def _page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text("utf-8")


def _section(page: str, heading: str) -> str:
    return next(part for part in _page(page).split("\n## ") if part.startswith(heading))


@pytest.mark.parametrize("page", ["cli.md", "configuration.md"])
def test_the_reference_is_made_from_the_code(page: str, request: pytest.FixtureRequest) -> None:
    path = ROOT / "docs" / "reference" / page
    text = path.read_text("utf-8")
    expected = reference.updated(text)
    if request.config.getoption("--update-reference"):
        path.write_text(expected, "utf-8")
        text = expected
    assert text == expected, "pytest --update-reference tests/test_docs.py brings the page up to the code"


def test_the_reference_has_every_command_and_every_table_of_settings() -> None:
    assert sorted(reference.names_in(_page("cli.md"))) == sorted(reference.commands())
    assert reference.names_in(_page("configuration.md")) == list(reference.TABLES)


def test_the_reference_has_every_endpoint() -> None:
    page = (ROOT / "docs" / "reference" / "http.md").read_text("utf-8")

    missing = [path for path in ROUTES if f"{path.rstrip('/') or '/'}" not in page]

    assert missing == []


def test_the_reference_has_the_limits_that_hold() -> None:
    section = _section("http.md", "Limits")
    limits = ServerLimits()

    assert f"| headers | {limits.max_header_bytes // 1024} KiB, within {limits.header_timeout_s:.0f} s |" in section
    assert f"| body | {limits.max_body_bytes // 1024**2} MiB, within {limits.body_timeout_s:.0f} s |" in section
    assert f"| connections | {limits.max_connections:,};" in section
    assert f"| header lines | {MAX_FIELDS} |" in section
    assert f"| URL | {MAX_TARGET_BYTES // 1024} KiB |" in section
    assert f"| messages in a request | {MAX_MESSAGES:,} |" in section
    assert f"| content blocks in a request | {MAX_BLOCKS:,} |" in section
    assert f"| tools in a request | {MAX_TOOLS:,} |" in section
    for budget in BUDGETS:
        assert f"| {budget.name} in a request, in its texts too | {budget.most:,} |" in section
    assert f"| bytes behind the first of characters outside ASCII | {MAX_CONTINUATION_BYTES:,} |" in section
    assert f"| a schema of a tool or of an answer | {MAX_SCHEMA_BYTES // 2**20} MiB |" in section
    assert f"described in a request | {MAX_ATTACHMENTS}, the addresses among them in {FETCH_LIMIT_S:g} s" in section
    assert f"| characters of all stop sequences in a request | {MAX_STOP_CHARS:,} |" in section
    assert f"| {MAX_JSON_DEPTH} levels |" in section
    assert f"closed after {limits.idle_timeout_s:.0f} s" in section
    assert f"given up after {limits.write_timeout_s / 60:.0f} minutes" in section


def test_the_reference_has_every_variable() -> None:
    section = _section("configuration.md", "What overrides what")
    names = [name for table in (Server, Defaults, Budget, Web) for name in settings_of(table)]

    documented = set(re.findall(r"`(BRIDGE_[A-Z_]+)`", section))

    assert documented == {*OPTION_VARIABLES, *map(variable_of, names)}


def test_links_to_files_lead_somewhere() -> None:
    missing = [
        f"{page}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert missing == []


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_links_to_headings_lead_to_one() -> None:
    missing = [
        f"{page}: {target}#{anchor}"
        for page in PAGES
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text("utf-8"))
        if (target or page.name).endswith(".md") and anchor not in _anchors(page.parent / target if target else page)
    ]
    assert missing == []


def test_files_that_are_named_exist() -> None:
    named = re.compile(r"`((?:claude_bridge|tests|docs|benchmarks)/[\w/.]+)`")
    found = [(page.name, path) for page in PAGES for path in named.findall(page.read_text("utf-8"))]

    assert [(page, path) for page, path in found if not (ROOT / path).exists()] == []


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


# --- examples that are not commands of the bridge: tests/cli/test_advice.py parses those --------------------------


def _settings_in(page: Path) -> list[str]:
    """Return the blocks of TOML on a page, fenced or indented."""
    text = page.read_text("utf-8")
    fenced = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = [
        "".join(line[4:] + "\n" for line in block.splitlines())
        for block in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", text, re.MULTILINE)
    ]
    return fenced + [block for block in indented if re.match(r"(?:\s*#.*\n)*\s*\[\[?[\w.]+\]", block)]


SETTINGS = [(str(page.relative_to(ROOT)), block) for page in PAGES for block in _settings_in(page)]


@pytest.mark.parametrize(("page", "block"), SETTINGS)
def test_settings_on_a_page_are_read_without_a_mistake(page: str, block: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(block, "utf-8")
    reading = read_config(file, {})
    assert [str(problem) for problem in (*reading.mistakes, *reading.doubts)] == []


def test_there_are_settings_on_pages() -> None:
    assert len(SETTINGS) > 8


def test_what_is_installed_is_there() -> None:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {extra for named in re.findall(r"install[^\n]* '\.\[([\w,]+)\]'", text) for extra in named.split(",")}
    assert extras <= project["optional-dependencies"].keys()
    assert "install 'claude-bridge-cli" not in text, "it is on no package index"
    libraries = {re.split(r"[>=;]", name)[0] for names in project["optional-dependencies"].values() for name in names}
    for named in re.findall(r"pipx inject claude-bridge-cli ([\w -]+?)(?: {2}|`|$)", text, re.MULTILINE):
        assert set(named.split()) <= libraries


def test_every_folder_that_we_write_to_is_on_the_page_about_uninstalling(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "how-to" / "update-and-uninstall.md").read_text("utf-8")
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    home = str(Path.home())
    folders = (locate.log_folder(), locate.exams_folder().parent, user_cache_path("claude-bridge", appauthor=False))
    for folder in (*folders, locate.config_file(None, {})[0].parent):
        assert str(folder).replace(home, "~") in page or sys.platform == "win32"
    source = "".join(file.read_text("utf-8") for file in (ROOT / "claude_bridge").rglob("*.py"))
    calls = re.findall(r"user_\w+_path\([^)]+\)", source)
    assert len(calls) > 3
    assert [call for call in calls if "appauthor=False" not in call] == [], "Windows would double the folder's name"


def test_the_moving_picture_is_small_and_ends_with_what_the_program_prints_today() -> None:
    picture = (ROOT / "docs" / "pictures" / "first-command.svg").read_text("utf-8")
    words = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", picture.partition("</style>")[2]).split()))
    source = (ROOT / "claude_bridge" / "cli" / "try_.py").read_text("utf-8")
    assert len(picture) < 60_000
    for shown in (
        "Next, with your own engine:",
        "or with this model:",
        "It works.",
        "Explain in three short sentences",
    ):
        assert shown in " ".join(words.split())
        assert shown in source, "python docs/pictures.py draws it as it is now"


def test_options_of_a_benchmark_exist() -> None:
    started = re.compile(r"python (benchmarks/\w+\.py)([^#`\n]*)")
    for script, arguments in [found for page in PAGES for found in started.findall(page.read_text("utf-8"))]:
        source = (ROOT / script).read_text("utf-8")
        assert [option for option in re.findall(r"--[\w-]+", arguments) if f'"{option}"' not in source] == [], script


# --- the table of conversions, and where each of its rows is proven --------------------------------------------

COLUMNS_OF_A_KIND = {"Chat Completions": "openai-chat", "Ollama's /api/chat": "ollama-chat"}
KINDS = sorted(COLUMNS_OF_A_KIND.values())


def _rows(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the heads of its table and the cells for each row of the tables in a text."""
    heads: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            heads = []
        elif not heads:
            heads = _cells(line)
        elif not re.fullmatch(r"[|\- ]+", line):
            yield heads, _cells(line)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


CONVERSIONS = {
    (section.partition("\n")[0], cells[0]): {COLUMNS_OF_A_KIND[head] for head in heads if head in COLUMNS_OF_A_KIND}
    for section in _page("conversion.md").split("\n## ")[1:]
    for heads, cells in _rows(section)
}
"""The kinds that have a column of their own, by the heading and the first cell of a row."""

PROOFS = {
    (section.partition("\n")[0], cells[0]): re.findall(r"`([^`]+)`", cells[1])
    for section in _page("conversion-proofs.md").split("\n## ")[1:]
    for _, cells in _rows(section)
}


@cache
def _tests_in(path: str) -> set[str]:
    file = ROOT / path
    body = ast.parse(file.read_text("utf-8")).body if file.exists() else []
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _proven_kinds(proof: str) -> set[str]:
    """Return the kinds for which a golden case or a test speaks; none if there is no such thing."""
    path, is_test, name = proof.partition("::")
    if is_test:
        named = {kind for kind in KINDS if f"test_{kind.partition('-')[0]}" in path}
        return (named or set(KINDS)) if name in _tests_in(path) else set()
    kind, _, case = proof.rpartition("/")
    kinds = [kind] if kind else KINDS
    found = {kind for kind in kinds if any((ROOT / "tests" / "golden" / kind).glob(f"{case}/case.toml"))}
    return found if len(found) == len(kinds) else set()


def test_every_row_of_the_conversion_table_is_proven() -> None:
    """Each row needs, in docs/reference/conversion-proofs.md, golden cases or tests for each of its columns."""
    missing = {key: kinds - set().union(*map(_proven_kinds, PROOFS.get(key, []))) for key, kinds in CONVERSIONS.items()}
    assert {key: kinds for key, kinds in missing.items() if kinds or not PROOFS.get(key)} == {}


def test_every_proof_exists_and_is_of_something_that_the_table_says() -> None:
    def is_said(section: str, row: str) -> bool:
        in_running_text = re.compile(rf"^(?:- )?{re.escape(row)}", re.MULTILINE)
        return (section, row) in CONVERSIONS or bool(in_running_text.search(_section("conversion.md", section)))

    assert [key for key in PROOFS if not is_said(*key)] == [], "no such rows"
    # A proof must exist, and for each kind that it names.
    assert [(key, proof) for key in PROOFS for proof in PROOFS[key] if not _proven_kinds(proof)] == []


def test_the_first_page_in_japanese_has_the_same_commands_and_links() -> None:
    def commands(page: str) -> list[str]:
        lines = (ROOT / page).read_text("utf-8").splitlines()
        return [line.partition("#")[0].strip() for line in lines if line.startswith("    ")]

    def links(page: str) -> set[str]:
        return set(re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text("utf-8"))) - {"README.md", "README.ja.md"}

    assert commands("README.ja.md") == commands("README.md")
    assert links("README.ja.md") >= links("README.md")


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/explanation/reliability.md"])
def test_the_proofs_that_a_page_names_are_there(page: str) -> None:
    proofs = re.findall(r"`(tests/[^`]+)`", (ROOT / page).read_text("utf-8"))
    assert len(proofs) > 10
    for proof in proofs:
        file, _, name = proof.partition("::")
        assert (ROOT / file).is_file(), proof
        assert not name or f"def {name}(" in (ROOT / file).read_text("utf-8"), proof


def test_the_dockerfile_copies_what_is_there_and_installs_extras_that_exist() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {project["readme"], *project["license-files"], "pyproject.toml", "claude_bridge"} <= set(copied)
    extras = next(found[1].split(",") for line in lines if (found := re.search(r"/src\[([\w,]+)\]", line)))
    assert set(extras) <= project["optional-dependencies"].keys()
    assert 'ENTRYPOINT ["bridge", "serve"]' in lines
